"""The direct transport: aiohttp and msgspec, and nothing of the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from headrace.errors import CallError
from headrace_providers.wire.answer_reader import ReadingTransport
from headrace_providers.wire.body import Body, left_in
from headrace_providers.wire.environment_proxies import EnvironmentProxies
from headrace_providers.wire.error_answer import failure_of
from headrace_providers.wire.exchange import Connections, HttpResponse, Route, header_line
from headrace_providers.wire.limit_headers import ON_HEADERS
from headrace_providers.wire.provider_errors import is_unreachable, refused
from headrace_providers.wire.request import REQUEST_ID, Request
from headrace_providers.wire.tls import tls_context
from headrace_providers.wire.transport import MAX_ANSWER_BYTES, Deadlines, encoded, sent

MAX_ROUTES = 256


class HttpTransport(ReadingTransport):
    """Over aiohttp, without redirects and cookies. One per provider and event loop.

    URL, credential and headers are the request's. An answer of more than `most_bytes` is broken off. With `trust_env` the
    environment's proxies are used, and its certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`).

    A request is sent again only when its connection was closed before a byte of it was written.
    """

    def __init__(
        self,
        *,
        deadlines: Deadlines | None = None,
        connections: int = 1000,
        most_bytes: int = MAX_ANSWER_BYTES,
        trust_env: bool = False,
    ):
        super().__init__(deadlines=deadlines, most_bytes=most_bytes)
        self._most_connections = connections
        self._trust_env = trust_env
        self._proxies = EnvironmentProxies() if trust_env else None
        self._connections: Connections | None = None
        self._routes: dict[tuple[Any, ...], Route] = {}

    async def close(self) -> None:
        """Close the connections. Used again, it connects again."""
        connections, self._connections = self._connections, None
        self._routes.clear()
        await self._close_answers()
        if connections is not None:
            await connections.close()

    async def _open(self, request: Request) -> HttpAnswer:
        content = encoded(request.body)
        route, own = self._route(request)
        if self._connections is None:
            self._connections = Connections(most=self._most_connections, connect_s=self.deadlines.connect_s)
        try:
            response = await self._connections.post(route, own, content)
        except TimeoutError:  # not of the whole call, which is a cancellation here
            raise CallError("timeout", f"no connection within {self.deadlines.connect_s:g} s") from None
        try:
            if (told := ON_HEADERS.get()) is not None:
                told(response.headers)
            if not 200 <= response.status <= 299:
                raise await self._failure(request.url, response)
            return HttpAnswer(response, self._most_bytes)
        except BaseException:
            response.close()
            raise

    async def _failure(self, url: str, response: HttpResponse) -> CallError:
        if response.status == 407 and self._proxies is not None and self._proxies.words_for(url)[0]:
            return refused_by_proxy(407)
        error = await failure_of(response.status, response.headers, lambda: body_of(response, self._most_bytes))
        response.release()
        return error

    def _route(self, request: Request) -> tuple[Route, bytes]:
        """Return the route of a request, and the encoded header that is its alone."""
        headers = request.headers
        request_id = headers.get(REQUEST_ID)
        key = (request.url, *((name, value) for name, value in headers.items() if name != REQUEST_ID))
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            route = self._routes[key] = self._new_route(request)
        return route, b"" if request_id is None else header_line(f"{REQUEST_ID}: {request_id}")

    def _new_route(self, request: Request) -> Route:
        url, words, more = request.url, {}, {}
        if url[:5].lower() == "https":
            words["ssl"] = tls_context(trust_env=self._trust_env)
        if self._proxies is not None:
            proxy_words, more = self._proxies.words_for(url)
            words |= proxy_words
        headers = {name: value for name, value in (sent(request) | more).items() if name != REQUEST_ID}
        return Route(url, headers, asyncio.get_running_loop(), **words)

    def _call_error(self, error: Exception) -> Exception | None:
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return refused_by_proxy(error.status)
        if isinstance(error, aiohttp.ClientConnectionError):
            why = refused(error) or type(error).__name__
            details = {"unreachable": True} if is_unreachable(error) else None
            return CallError("connection", f"the connection failed: {why}", details=details)
        if isinstance(error, aiohttp.ClientError | aiohttp.http.HttpProcessingError):
            return CallError("connection", f"the connection broke: {type(error).__name__}")
        return None


class HttpAnswer:
    """An `Answer` over an `HttpResponse`."""

    def __init__(self, response: HttpResponse, most_bytes: int):
        self._response = response
        self.headers: Mapping[str, str] = response.headers
        self.body = body_of(response, most_bytes)

    async def close(self) -> None:
        self._response.release()


def body_of(response: HttpResponse, most_bytes: int) -> Body:
    """Return the body of a response. Raises `CallError` for one in an encoding that is not known."""
    content = response.content
    encoding = response.headers.get("Content-Encoding", "")
    return Body(content.readany, lambda: left_in(content), encoding, most_bytes)


def refused_by_proxy(status: int) -> CallError:
    """Return the error of a proxy that let nothing pass: that a credential of its own is missing or wrong, or that it may not
    reach the host, has to be put right."""
    details = {"unreachable": True} if 400 <= status <= 499 else None
    return CallError("connection", f"the proxy answered {status}", details=details)
