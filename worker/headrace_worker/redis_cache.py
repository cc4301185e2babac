"""The answer cache of all workers, in Redis: the `Cache` of jobs with `cache=True`."""

from __future__ import annotations

import structlog
from headrace_providers.cache import CacheInfo

from headrace.ledger.answer_cache import count_answers, drop_answers, keep_answer, kept_answer
from headrace.ledger.script import UNAVAILABLE, Ledger

log = structlog.get_logger("headrace.worker.redis_cache")

MAX_BYTES = 1 << 20
"""Maximal bytes of a cached answer; a larger one is logged and not cached."""


class RedisCache:
    """One string per answer, with a TTL of `ttl_s` from its call. While Redis is unavailable every lookup is a miss, and
    nothing is stored."""

    def __init__(self, ledger: Ledger, ttl_s: float):
        self._ledger = ledger
        self._ttl_ms = int(ttl_s * 1000)
        self._hits = self._misses = 0

    async def get(self, key: str) -> bytes | None:
        try:
            found = await kept_answer(self._ledger, key)
        except UNAVAILABLE as error:
            log.warning("no look at the kept answers", error=type(error).__name__)
            found = None
        if found is None:
            self._misses += 1
        else:
            self._hits += 1
        return found

    async def set(self, key: str, value: bytes) -> None:
        if len(value) > MAX_BYTES:
            log.info("an answer is not kept: it is too large", bytes=len(value), max_bytes=MAX_BYTES)
            return
        try:
            await keep_answer(self._ledger, key, value, ttl_ms=self._ttl_ms)
        except UNAVAILABLE as error:
            log.warning("an answer is not kept", error=type(error).__name__)

    async def info(self) -> CacheInfo:
        """Return the counts: `hits` and `misses` are this process's, `currsize` is everybody's."""
        return CacheInfo(self._hits, self._misses, None, await count_answers(self._ledger))

    async def clear(self) -> None:
        await drop_answers(self._ledger)
        self._hits = self._misses = 0
