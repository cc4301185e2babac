"""A body goes out, chunks come back. A plain call is a stream of one chunk; no implementation retries.

`Transport` has one implementation here, over the official SDK; what it raises is always a `CallError`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

import httpx2
import msgspec
import openai

from headrace.errors import CallError

Chunk = dict[str, Any]


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. `first_token_s` and `idle_s` hold for streams: a plain call shows nothing before it is complete."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Transport(Protocol):
    def chunks(self, body: dict[str, Any], *, request_id: str) -> AsyncIterator[Chunk]:
        """Send `body`; yield what comes back, one chunk for a plain call. Raises `CallError`.

        Leaving the iterator early closes the connection, which tells the provider to stop.
        """
        ...

    async def close(self) -> None: ...


class SdkTransport:
    """Over `openai.AsyncOpenAI` on aiohttp, without its retries and redirects. One per base URL and credential."""

    def __init__(self, *, base_url: str, api_key: str, deadlines: Deadlines | None = None, connections: int = 1000):
        self.deadlines = deadlines or Deadlines()
        self._key = api_key
        self._client = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(
                follow_redirects=False,
                trust_env=False,
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
                timeout=httpx2.Timeout(None, connect=self.deadlines.connect_s),
            ),
        )

    async def chunks(self, body: dict[str, Any], *, request_id: str) -> AsyncIterator[Chunk]:
        try:
            async with asyncio.timeout(self.deadlines.total_s):
                if body.get("stream"):
                    async for chunk in self._stream(body, request_id):
                        yield chunk
                else:
                    response = await self._client.post(
                        "/chat/completions",
                        cast_to=httpx2.Response,
                        body=body,
                        options={"headers": {"X-Client-Request-Id": request_id}},
                    )
                    yield decoded(response.content)
        except TimeoutError:
            raise CallError("timeout", f"no answer within {self.deadlines.total_s:g} s") from None
        except openai.OpenAIError as error:
            raise self._call_error(error) from None
        except (httpx2.HTTPError, OSError) as error:
            raise CallError("connection", f"the connection broke: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._client.close()

    async def _stream(self, body: dict[str, Any], request_id: str) -> AsyncIterator[Chunk]:
        limit, what = self.deadlines.first_token_s, "first token"
        try:
            async with asyncio.timeout(limit):
                stream = await self._client.post(
                    "/chat/completions",
                    cast_to=object,
                    body=body,
                    options={"headers": {"X-Client-Request-Id": request_id}},
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            async with stream:
                iterator = aiter(stream)
                while True:
                    async with asyncio.timeout(limit):
                        chunk = await anext(iterator, None)
                    if chunk is None:
                        return
                    limit, what = self.deadlines.idle_s, "next chunk"
                    yield chunk  # pyright: ignore[reportReturnType] (`cast_to=object` hands the decoded JSON through)
        except TimeoutError:
            raise CallError("timeout", f"no {what} within {limit:g} s") from None

    def _call_error(self, error: openai.OpenAIError) -> CallError:
        if isinstance(error, openai.APITimeoutError) and not refused(error):
            return CallError("timeout", f"no connection within {self.deadlines.connect_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            return CallError("connection", f"the connection failed: {type(cause or error).__name__}")
        if isinstance(error, openai.APIStatusError):
            return CallError(
                code_of(error.status_code),
                scrub(f"the provider answered {error.status_code}: {error.message}", self._key),
                status=error.status_code,
                retry_after_s=retry_after_s(error.response.headers),
            )
        return CallError("provider_error", scrub(str(error), self._key))


def refused(error: BaseException) -> bool:
    """Whether a connection was refused at heart: the SDK's aiohttp transport calls that a time-out too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) or (isinstance(cause, OSError) and not isinstance(cause, TimeoutError)):
            return True
        cause = cause.__cause__
    return False


def decoded(content: bytes) -> Chunk:
    """A plain answer's JSON object."""
    try:
        chunk = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise CallError("provider_error", "the provider's answer is not JSON") from None
    if not isinstance(chunk, dict):
        raise CallError("provider_error", "the provider's answer is not a JSON object")
    return chunk


def code_of(status: int) -> str:
    """Our code for a provider's HTTP status (reference, section 7.2)."""
    table = {401: "auth", 402: "payment", 403: "auth", 404: "not_found", 408: "timeout", 429: "rate_limited"}
    if status in table:
        return table[status]
    if status in {409, 529} or status >= 500:
        return "provider_unavailable"
    return "invalid_request"


LONGEST_RETRY_AFTER_S = 3600.0


def retry_after_s(headers: Any) -> float | None:
    """What the provider asked for, in seconds: `retry-after-ms`, or `Retry-After` in seconds or as a date; capped.

    Anything that cannot be read counts as not said (RFC 9110, 10.2.3).
    """
    import email.utils
    import time

    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds: float | None = None
    try:
        if milliseconds:
            seconds = float(milliseconds) / 1000
        elif value:
            seconds = float(value)
    except ValueError:
        date = email.utils.parsedate_tz(value) if value else None
        seconds = email.utils.mktime_tz(date) - time.time() if date else None
    if seconds is None or not 0 <= seconds < float("inf"):
        return None
    return min(seconds, LONGEST_RETRY_AFTER_S)


def scrub(text: str, key: str, *, most: int = 500) -> str:
    """Cut to `most` characters, without the credential in it."""
    if len(key) > 7:
        text = text.replace(key, "…")
    text = re.sub(r"(sk-|Bearer\s+)[A-Za-z0-9_\-.*]{6,}", r"\1…", text)
    return text if len(text) <= most else f"{text[:most]}…"
