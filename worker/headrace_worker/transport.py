"""A request goes out, chunks come back. A plain call is a stream of one chunk; no implementation retries.

`Transport` has one implementation here, over the official SDK; what it raises is always a `CallError`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

import httpx2
import msgspec
import openai

from headrace.errors import CallError, InputError, Refused
from headrace.settings import number_in
from headrace_worker.admission import http_client
from headrace_worker.failures import call_error, is_unreachable, refused, scrub
from headrace_worker.request import Request
from headrace_worker.retry_hints import hinted_s, retry_after_s

Chunk = dict[str, Any]
MOST_ANSWER_BYTES = 32 << 20
DRAIN_S = 0.5
LARGE = 1 << 16


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. `first_token_s` and `idle_s` hold for streams: a plain call shows nothing before it is complete."""

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
    def chunks(self, request: Request) -> AsyncIterator[Chunk]:
        """Send `request`; yield what comes back, one chunk for a plain call. Raises `CallError`.

        Leaving the iterator early closes the connection, which tells the provider to stop.
        """
        ...

    async def close(self) -> None: ...


class SdkTransport:
    """Over `openai.AsyncOpenAI` on aiohttp, without its retries and redirects. One per provider and event loop.

    URL, credential and headers are the request's. An answer of more than `most_bytes` is broken off.
    """

    def __init__(
        self, *, deadlines: Deadlines | None = None, connections: int = 1000, most_bytes: int = MOST_ANSWER_BYTES
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

    async def chunks(self, request: Request) -> AsyncIterator[Chunk]:
        try:
            async with asyncio.timeout(self.deadlines.total_s):
                if request.body.get("stream"):
                    async for chunk in self._stream(request):
                        yield chunk
                else:
                    response = await self._client.post(
                        request.url,
                        cast_to=httpx2.Response,
                        content=encoded(request.body),
                        options={"headers": sent(request)},
                    )
                    yield decoded(response.content)
        except TimeoutError:
            raise CallError("timeout", f"no answer within {self.deadlines.total_s:g} s") from None
        except openai.OpenAIError as error:
            raise self._call_error(error, request) from None
        except UnicodeDecodeError:
            raise CallError("provider_error", "the provider's answer is not UTF-8") from None
        except (httpx2.HTTPError, OSError) as error:
            raise CallError("connection", f"the connection broke: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._client.close()

    async def _bounded(self, response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise CallError("provider_error", "the provider sent a compressed answer that was not asked for")
        response.stream = Bounded(response.stream, self._most_bytes)

    async def _stream(self, request: Request) -> AsyncIterator[Chunk]:
        limit, what = self.deadlines.first_token_s, "first token"
        try:
            async with asyncio.timeout(limit):
                stream = await self._client.post(
                    request.url,
                    cast_to=object,
                    content=encoded(request.body),
                    options={"headers": sent(request)},
                    stream=True,
                    stream_cls=ChunkStream,
                )
            async with stream:
                iterator = aiter(stream)
                while True:
                    async with asyncio.timeout(limit):
                        chunk = await anext(iterator, None)
                    if chunk is None:
                        return
                    limit, what = self.deadlines.idle_s, "next chunk"
                    yield chunk
        except TimeoutError:
            raise CallError("timeout", f"no {what} within {limit:g} s") from None

    def _call_error(self, error: openai.OpenAIError, request: Request) -> CallError:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
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
                key=key,
                retry_after_s=(hinted_s if error.status_code == 429 else retry_after_s)(headers),
                asked=headers.get("x-should-retry"),
            )
        return CallError("provider_error", scrub(str(error), key))


class ChunkStream(openai.AsyncStream[Chunk]):
    """The SDK's stream of server-sent events with our reading of them: `error` objects pass through as chunks, so that
    the reducer keeps what came before them, and JSON is read by msgspec, which knows no NaN."""

    async def __stream__(self) -> AsyncIterator[Chunk]:
        try:
            async for event in self._iter_events():
                if event.data.startswith("[DONE]"):
                    # The rest must be read for the connection to be used again; a stall there spoils nothing.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(DRAIN_S):
                            await drained(self.response)
                    return
                if event.data:
                    yield decoded(event.data)
        finally:
            await self.response.aclose()


class Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error after `most` bytes: an answer without an end must not fill the memory."""

    def __init__(self, stream: Any, most: int):
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came = 0
        async for data in self._stream:
            came += len(data)
            if came > self._most:
                raise CallError("provider_error", f"the provider's answer is larger than {self._most} bytes")
            yield data
            if came > LARGE:
                await asyncio.sleep(0)  # what has arrived already is handed over without a turn of the loop

    async def aclose(self) -> None:
        await self._stream.aclose()


async def drained(response: httpx2.Response) -> None:
    async for _ in response.stream:  # pyright: ignore[reportGeneralTypeIssues] (an async stream, on this client)
        pass


def sent(request: Request) -> dict[str, str]:
    return request.headers | {"Content-Type": "application/json", "Accept-Encoding": "identity"}


def encoded(body: Any) -> bytes:
    """The body as JSON. Raises `InputError` for what JSON cannot hold, as half of a surrogate pair."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the request cannot be written as JSON: {error}") from None


def decoded(content: bytes | str) -> Chunk:
    """An answer's JSON object."""
    try:
        chunk = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CallError("provider_error", "the provider's answer is not JSON") from None
    if not isinstance(chunk, dict):
        raise CallError("provider_error", "the provider's answer is not a JSON object")
    return chunk
