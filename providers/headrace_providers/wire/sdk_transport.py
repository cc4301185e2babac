"""The transport over the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx2
import openai
from openai._vendor.httpx_aiohttp import AiohttpTransport

from headrace.errors import CallError, HeadraceError
from headrace_providers.credentials import scrub
from headrace_providers.wire.admission import AdmittedRequest, AdmittedResponse
from headrace_providers.wire.answer_reader import ReadingTransport
from headrace_providers.wire.body import Body, left_in
from headrace_providers.wire.connector import MAX_LINE, Connector
from headrace_providers.wire.error_answer import failure_of
from headrace_providers.wire.limit_headers import ON_HEADERS
from headrace_providers.wire.provider_errors import MAX_MESSAGE, is_unreachable, refused, timed_out
from headrace_providers.wire.request import Request
from headrace_providers.wire.transport import MAX_ANSWER_BYTES, Deadlines, encoded, sent


class SdkTransport(ReadingTransport):
    """Over `openai.AsyncOpenAI` on aiohttp, without its retries and redirects. One per provider and event loop.

    URL, credential and headers are the request's. An answer of more than `most_bytes` is broken off.
    """

    def __init__(
        self, *, deadlines: Deadlines | None = None, connections: int = 1000, most_bytes: int = MAX_ANSWER_BYTES
    ):
        super().__init__(deadlines=deadlines, most_bytes=most_bytes)
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

    async def close(self) -> None:
        await self._close_answers()
        await self._client.close()

    async def _bounded(self, response: httpx2.Response) -> None:
        if (told := ON_HEADERS.get()) is not None:
            told(response.headers)
        if not response.is_success:
            stream, encoding = response.stream, response.headers.get("content-encoding", "")
            headers = dict(reversed(response.headers.multi_items()))  # the first of each name
            raise await failure_of(response.status_code, headers, lambda: body_of(stream, encoding, self._most_bytes))
        response.stream = ResponseStream(response, self._most_bytes)

    async def _open(self, request: Request) -> SdkAnswer:
        response: httpx2.Response = await self._client.post(
            request.url,
            cast_to=httpx2.Response,
            content=encoded(request.body),
            options={"headers": sent(request)},
            stream=True,
        )
        return SdkAnswer(response)

    def _call_error(self, error: Exception) -> Exception | None:
        if isinstance(error, httpx2.HTTPError):
            return CallError("connection", f"the connection broke: {type(error).__name__}")
        if not isinstance(error, openai.OpenAIError):
            return None
        if isinstance(error.__cause__, HeadraceError):
            return error.__cause__
        if timed_out(error):
            return CallError("timeout", f"no connection within {self.deadlines.connect_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            why = refused(error) or root_of(error)
            details = {"unreachable": True} if is_unreachable(error) else None
            return CallError("connection", f"the connection failed: {why}", details=details)
        return CallError("provider_error", scrub(str(error), most=MAX_MESSAGE))


def root_of(error: BaseException) -> str:
    """Return the name of what an exception of the SDK goes back to."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


class SdkAnswer:
    """An `Answer` that the SDK's HTTP client holds."""

    def __init__(self, response: httpx2.Response):
        self._response = response
        self.headers: Mapping[str, str] = response.headers
        self.body: Body = response.stream.body  # pyright: ignore[reportAttributeAccessIssue] (`_bounded` has put it there)

    async def close(self) -> None:
        await self._response.aclose()


class ResponseStream(httpx2.AsyncByteStream):
    """A response's stream, which is read through a `Body`."""

    def __init__(self, response: httpx2.Response, most: int):
        self._stream: Any = response.stream
        # Without that header it is not decompressed again, without a bound.
        encoding = response.headers.pop("content-encoding", "identity")
        self.body = body_of(self._stream, encoding, most)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.body.read():
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


def body_of(stream: Any, encoding: str, most: int) -> Body:
    """Return the body that a stream of the SDK's transport holds. Raises `CallError` for an encoding that is not known."""
    pieces = aiter(stream)
    return Body(lambda: anext(pieces, b""), lambda: left_in(aiohttp_content(stream)), encoding, most)


def aiohttp_content(stream: Any) -> Any:
    """Return aiohttp's reader beneath a stream of the SDK's transport."""
    return getattr(getattr(stream, "_aiohttp_response", None), "content", None)


def http_client(*, connections: int, connect_s: float, hooks: dict[str, list[Any]]) -> httpx2.AsyncClient:
    """Return the SDK's HTTP client on aiohttp, with requests that ask. It follows nothing, keeps no cookies, and reads no
    environment; it has no limits of time but that for connecting."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)

    def session() -> aiohttp.ClientSession:
        connector = Connector(
            connect_s=connect_s,
            limit=connections,
            keepalive_timeout=limits.keepalive_expiry,
            ssl=transport.ssl_context,
        )
        return aiohttp.ClientSession(
            connector=connector,
            request_class=AdmittedRequest,
            response_class=AdmittedResponse,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    transport = AiohttpTransport(trust_env=False, limits=limits, client=session)
    client = openai.DefaultAioHttpClient(
        transport=transport,
        follow_redirects=False,
        trust_env=False,
        limits=limits,
        timeout=httpx2.Timeout(None, connect=connect_s),
        event_hooks=hooks,
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client
