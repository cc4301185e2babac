"""The response cache: its interface, its key, single-flight calls, and a store in memory.

A `Cache` stores bytes. Through `SingleFlightCache` each caller gets an independent copy, and of concurrent identical calls only
one is paid.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.chat.completion import Completion
from headrace.text.readable import UNWRITABLE, checked_encode

FORMAT = 1
encode = msgspec.json.Encoder(order="deterministic").encode


Fits = Callable[[Completion], Awaitable[bool]]
"""A predicate: True if a cached completion answers the present request."""


class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class Cache(Protocol):
    """Bytes by key. `get` counts a hit or a miss; `clear` empties it and resets its counters."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes) -> None: ...
    async def info(self) -> CacheInfo: ...
    async def clear(self) -> None: ...


class MemoryCache:
    """An LRU cache in memory. `maxsize` None is unbounded; entries expire after `ttl_s`."""

    def __init__(self, maxsize: int | None = 128, ttl_s: float | None = None):
        self.maxsize = maxsize
        self.ttl_s = ttl_s
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._hits = self._misses = 0

    async def get(self, key: str) -> bytes | None:
        value, until = self._entries.get(key, (None, 0.0))
        if value is not None and until < time.monotonic():
            del self._entries[key]
            value = None
        if value is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes) -> None:
        self._entries[key] = (value, float("inf") if self.ttl_s is None else time.monotonic() + self.ttl_s)
        self._entries.move_to_end(key)
        while self.maxsize is not None and len(self._entries) > self.maxsize:
            self._entries.popitem(last=False)

    async def info(self) -> CacheInfo:
        return CacheInfo(self._hits, self._misses, self.maxsize, len(self._entries))

    async def clear(self) -> None:
        self._entries.clear()
        self._hits = self._misses = 0


class SingleFlightCache:
    """A single-flight cache of completions: concurrent identical calls are paid once."""

    def __init__(self, cache: Cache):
        self.cache = cache
        self._paying: dict[str, asyncio.Future[bool | None]] = {}  # whether its answer is kept; None: it was cancelled

    async def ask(self, key: str, pay: Callable[[], Awaitable[Completion]], fits: Fits | None = None) -> Completion:
        """Return the completion cached under `key`, else a new one, which is cached if it is cacheable. If it is not, those
        who waited for it make their own calls, concurrently. An entry that `fits` refuses is a miss."""
        while (paying := self._paying.get(key)) is not None:
            kept = await asyncio.shield(paying)
            if kept is False:
                return await pay()
            if kept and (completion := await self._kept(key, fits)) is not None:
                return completion
        done = self._paying[key] = asyncio.get_running_loop().create_future()
        kept = False
        try:
            completion = await self._kept(key, fits)
            if completion is None:
                completion = await pay()
                if not is_cacheable(completion):
                    return completion
                await self.cache.set(key, encode_kept(completion))
            kept = True
            return completion
        except asyncio.CancelledError:
            kept = None
            raise
        finally:
            del self._paying[key]
            done.set_result(kept)

    async def _kept(self, key: str, fits: Fits | None) -> Completion | None:
        found = await self.cache.get(key)
        if not found:
            return None
        try:
            completion = msgspec.json.decode(found, type=Completion)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
        ):  # of another version, or damaged: as good as none
            return None
        if not is_cacheable(completion) or (fits is not None and not await fits(completion)):
            return None
        return msgspec.structs.replace(completion, cached=True)


def encode_kept(completion: Completion) -> bytes:
    """Encode the completion for the cache, without side fields that could not be decoded again. Raises one of `UNWRITABLE`."""
    try:
        return checked_encode(completion, Completion)
    except UNWRITABLE:
        return checked_encode(completion.without_side_fields(), Completion)


def is_cacheable(completion: Completion) -> bool:
    """Return True for whole answers only: no refusal, nothing cut or filtered, nothing empty (conformance 135)."""
    said = completion.content or completion.tool_calls or completion.audio or completion.value is not None
    return completion.finish_reason in {"stop", "tool_calls", "function_call"} and not completion.refusal and bool(said)


def cache_key(
    *, provider: str, base_url: str, tenant: str, body: dict[str, Any], parser: str | None, schema: Any, switches: Any
) -> str:
    """Return the cache key: SHA-256 over everything that affects an answer: provider and tenant, the adapted body, the
    caller's own schema and the local options. How it is delivered (stream or not) is not part of it."""
    asked = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    return sha256(encode([FORMAT, provider, base_url, tenant, asked, parser, schema, switches])).hexdigest()
