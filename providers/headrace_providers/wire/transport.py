"""A request goes out, chunks come back. A plain call is a stream of one chunk; no implementation retries.

`Transport` has one implementation here, over the official SDK; what it raises is always a `CallError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import httpx2
import msgspec
import openai
import structlog

from headrace.errors import CallError, HeadraceError, InputError, Refused
from headrace.settings import number_in
from headrace.text.readable import is_json
from headrace.text.safe_errors import kind_of, where_of
from headrace_providers.credentials import scrub
from headrace_providers.wire.admission import http_client
from headrace_providers.wire.body import Body
from headrace_providers.wire.provider_errors import MAX_MESSAGE, call_error, is_unreachable, refused
from headrace_providers.wire.request import Request
from headrace_providers.wire.retry_hints import hinted_s, retry_after_s
from headrace_providers.wire.sse import BOM, DONE, EventDecoder, ServerSentEvent
from headrace_providers.wire.surrogates import Halves

log = structlog.get_logger("headrace.worker.transport")

Chunk = dict[str, Any]
MAX_ANSWER_BYTES = 32 << 20
DRAIN_S = 0.5
PINGS = frozenset({b"ping", b"[ping]", b"null", b"heartbeat", b"keep-alive", b"keepalive", b": keepalive", b": ping"})
"""Events that only say that the other side lives."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. `first_token_s` and `idle_s` hold for streams (a plain call shows nothing before it is complete), and are
    measured by bytes: comments and empty chunks prove that the other side lives."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0

    @classmethod
    def from_environment(cls) -> Deadlines:
        """The default ones, with `OPENAI_TIMEOUT` seconds in all where that is set (statement 27)."""
        total_s = number_in(None, "OPENAI_TIMEOUT", 0.001)
        return cls() if total_s is None else cls(total_s=total_s)


class Transport(Protocol):
    def chunks(self, request: Request) -> AsyncIterator[Chunk | None]:
        """Send `request`; yield what comes back, one chunk for a plain call, None where a stream says that it is at its end
        (`[DONE]`). Raises `CallError`.

        Leaving the iterator early closes the connection, which tells the provider to stop.
        """
        ...

    async def close(self) -> None: ...


class SdkTransport:
    """Over `openai.AsyncOpenAI` on aiohttp, without its retries and redirects. One per provider and event loop.

    URL, credential and headers are the request's. An answer of more than `most_bytes` is broken off.
    """

    def __init__(
        self, *, deadlines: Deadlines | None = None, connections: int = 1000, most_bytes: int = MAX_ANSWER_BYTES
    ):
        self.deadlines = deadlines or Deadlines()
        self._most_bytes = most_bytes
        self._client = openai.AsyncOpenAI(
            api_key="of the request",
            base_url="http://of.the.request",
            max_retries=0,
            http_client=http_client(
                connections=connections, connect_s=self.deadlines.connect_s, hooks={"response": [self._bounded]}
            ),
        )
        # The SDK takes them from the environment and would show one provider's account to every other (D96).
        self._client.organization = self._client.project = None

    async def chunks(self, request: Request) -> AsyncIterator[Chunk | None]:
        try:
            async with asyncio.timeout(self.deadlines.total_s):
                if request.body.get("stream"):
                    async with aclosing(self._stream(request)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    async with aclosing(self._plain(request)) as chunks:
                        async for chunk in chunks:
                            yield chunk
        except TimeoutError:
            raise CallError("timeout", f"no answer within {self.deadlines.total_s:g} s") from None
        except openai.OpenAIError as error:
            raise self._call_error(error) from None
        except HeadraceError:
            raise
        except httpx2.HTTPError as error:
            raise CallError("connection", f"the connection broke: {type(error).__name__}") from None
        except Exception as error:
            # Whatever the libraries raise may show the request, and the credential in its headers, to who prints it.
            log.warning("the HTTP library failed", kind=kind_of(error), where=where_of(error))
            raise CallError("connection", f"the connection broke: {kind_of(error)}") from None

    async def close(self) -> None:
        await self._client.close()

    async def _bounded(self, response: httpx2.Response) -> None:
        response.stream = Body(response, self._most_bytes)

    async def _post(self, request: Request) -> tuple[httpx2.Response, Body]:
        """The response, of which nothing but the head has been read. Raises what the SDK makes of an error status."""
        response: httpx2.Response = await self._client.post(
            request.url,
            cast_to=httpx2.Response,
            content=encoded(request.body),
            options={"headers": sent(request)},
            stream=True,
        )
        return response, response.stream  # pyright: ignore[reportReturnType] (`_bounded` has put it there)

    async def _plain(self, request: Request) -> AsyncGenerator[Chunk | None]:
        response, body = await self._post(request)
        pieces: list[bytes] = []
        broken: Exception | None = None
        try:
            while data := await body.read():
                pieces.append(data)
                if len(pieces) == 1 and begins_stream(data):  # some servers do nothing else
                    async with aclosing(self._events(body, data)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                if is_whole(response, pieces):
                    await drained(body)
                    break
        except Exception as error:
            if begins_stream(b"".join(pieces)):
                raise
            broken = error
        finally:
            await closed(response)
        whole = b"".join(pieces)
        if is_stream(response, whole):
            decoder, halves = EventDecoder(), Halves()
            for event in (*decoder.feed(whole), *decoder.finish()):
                for chunk in chunks_of(event, halves):
                    yield chunk
        elif broken is None or is_json(whole):  # it is all there, however the connection ended
            yield decoded(whole.removeprefix(BOM))
        if broken is not None and not is_json(whole):
            raise broken

    async def _events(self, body: Body, data: bytes) -> AsyncGenerator[Chunk | None]:
        """The chunks of a stream that nobody asked for, of which `data` has been read."""
        decoder, halves = EventDecoder(), Halves()
        while True:
            for event in decoder.feed(data) if data else decoder.finish():
                for chunk in chunks_of(event, halves):
                    yield chunk
                    if chunk is None:
                        await drained(body)
                        return
            if not data:
                return
            data = await body.read()

    async def _stream(self, request: Request) -> AsyncGenerator[Chunk | None]:
        limit, what = self.deadlines.first_token_s, "first token"
        try:
            async with asyncio.timeout(limit):
                response, body = await self._post(request)
            decoder, halves = EventDecoder(), Halves()
            try:
                while True:
                    # By what is read, not by what it says: comments and empty chunks prove that the other side lives.
                    async with asyncio.timeout(limit):
                        data = await body.read()
                    for event in decoder.feed(data) if data else decoder.finish():
                        for chunk in chunks_of(event, halves):
                            limit, what = self.deadlines.idle_s, "next chunk"
                            yield chunk
                            if chunk is None:
                                await drained(body)
                                return
                    if not data:
                        return
            finally:
                await closed(response)
        except TimeoutError:
            raise CallError("timeout", f"no {what} within {limit:g} s") from None

    def _call_error(self, error: openai.OpenAIError) -> CallError:
        if isinstance(error.__cause__, CallError):
            return error.__cause__
        if isinstance(error.__cause__, Refused):
            raise error.__cause__
        if isinstance(error, openai.APITimeoutError) and not refused(error):
            return CallError("timeout", f"no connection within {self.deadlines.connect_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            why = refused(error) or type(error.__cause__ or error).__name__
            details = {"unreachable": True} if is_unreachable(error) else None
            return CallError("connection", f"the connection failed: {why}", details=details)
        if isinstance(error, openai.APIStatusError):
            headers = error.response.headers
            return call_error(
                error.status_code,
                error.body,
                retry_after_s=(hinted_s if error.status_code == 429 else retry_after_s)(headers),
                asked=headers.get("x-should-retry"),
            )
        return CallError("provider_error", scrub(str(error), most=MAX_MESSAGE))


async def drained(body: Body) -> None:
    """Read the rest, for the connection to be used again; a stall there spoils nothing, nor does a broken end."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DRAIN_S):
            while await body.read():
                pass


async def closed(response: httpx2.Response) -> None:
    """Close it; how that ends is of no interest to an answer that is there."""
    with contextlib.suppress(Exception):
        await response.aclose()


def sent(request: Request) -> dict[str, str]:
    return request.headers | {"Content-Type": "application/json", "Accept-Encoding": "identity"}


def encoded(body: Any) -> bytes:
    """The body as JSON. Raises `InputError` for what JSON cannot hold, as half of a surrogate pair."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the request cannot be written as JSON: {error}") from None


def chunks_of(event: ServerSentEvent, halves: Halves) -> list[Chunk | None]:
    """The chunk in an event; None for the word that nothing follows. Of an event that the body's end cut off there is none."""
    if event.data.startswith(DONE):
        return [None]
    if event.name == b"error":
        return [error_chunk(event.data)]
    if event.data.strip().lower() in PINGS:
        return []
    if event.cut and not is_json(event.data):
        return []
    return [decoded(event.data, halves)] if event.data.strip() else []


def error_chunk(data: bytes) -> Chunk:
    """An event of the name `error` as a chunk with an `error`, whatever is in it."""
    try:
        said = decoded(data)
    except CallError:
        return {"error": data.decode(errors="replace") or "an error without a message"}
    return said if said.get("error") else {"error": said}


def is_whole(response: httpx2.Response, pieces: list[bytes]) -> bool:
    """Return whether what has come is all of an object whose length nobody said, though the connection stays open."""
    ends = pieces[-1].rstrip()[-1:] == b"}"
    return ends and "content-length" not in response.headers and is_json(b"".join(pieces))


def begins_stream(body: bytes) -> bool:
    return body.removeprefix(BOM).lstrip()[:5] in (b"data:", b"event")


def is_stream(response: httpx2.Response, body: bytes) -> bool:
    """Return whether a body is one of server-sent events, though nobody asked for them."""
    return begins_stream(body) or (
        "text/event-stream" in response.headers.get("content-type", "") and not is_json(body)
    )


def decoded(content: bytes, halves: Halves | None = None) -> Chunk:
    """An answer's JSON object; `halves` are those of the stream that it is a chunk of."""
    try:
        chunk = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        chunk = loosely_decoded(content, halves or Halves())
    if isinstance(chunk, list) and len(chunk) == 1 and isinstance(chunk[0], dict):
        return chunk[0]  # Gemini's way to answer with an error
    if not isinstance(chunk, dict):
        raise CallError("provider_error", "the provider's answer is not a JSON object")
    return chunk


def loosely_decoded(content: bytes, halves: Halves) -> Any:
    """The object with numbers in it that JSON does not have, as Python writes the logarithm of nothing, or with characters cut in
    two: an answer is not lost for them. Raises `CallError` for everything else that is no JSON."""
    try:
        chunk = halves.join(json.loads(content))
        msgspec.json.encode(chunk)
    except (ValueError, RecursionError):
        raise CallError("provider_error", "the provider's answer is not JSON") from None
    return chunk
