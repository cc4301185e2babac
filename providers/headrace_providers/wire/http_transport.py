"""The direct transport: aiohttp and msgspec, and nothing of the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from headrace.errors import CallError
from headrace_providers.wire.admission import AdmittedRequest
from headrace_providers.wire.answer_reader import ReadingTransport
from headrace_providers.wire.body import Body, left_in, text_encoding
from headrace_providers.wire.environment_proxies import EnvironmentProxies
from headrace_providers.wire.json_body import JsonBody
from headrace_providers.wire.provider_errors import call_error, is_unreachable, refused
from headrace_providers.wire.request import Request
from headrace_providers.wire.retry_hints import hinted_s, retry_after_s
from headrace_providers.wire.tls import tls_context
from headrace_providers.wire.transport import MAX_ANSWER_BYTES, Deadlines, encoded, sent

KEEP_ALIVE_S = 5.0
"""How long a connection without a request is kept."""
DNS_TTL_S = 10
MAX_STALE = 5
"""Connections in a row that turn out to be closed before a byte of the request was written to them."""
OWN_HEADERS = {"Accept": "application/json", "User-Agent": "headrace"}


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
        self._connections = connections
        self._trust_env = trust_env
        self._proxies = EnvironmentProxies() if trust_env else None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.deadlines.connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. Used again, it connects again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self, request: Request) -> HttpAnswer:
        content, headers = encoded(request.body), OWN_HEADERS | sent(request)
        closed_before = 0
        while True:
            body = JsonBody(content)
            try:
                response = await self._post(request.url, headers, body)
                break
            except aiohttp.ServerTimeoutError:
                raise CallError("timeout", f"no connection within {self.deadlines.connect_s:g} s") from None
            except aiohttp.ClientConnectorError:
                raise
            except aiohttp.ClientConnectionError:
                closed_before += 1
                if body.began or closed_before == MAX_STALE:
                    raise
        try:
            answer = HttpAnswer(response, self._most_bytes)
            if not 200 <= response.status <= 299:
                raise await failure_of(answer, response)
        except BaseException:
            response.close()
            raise
        return answer

    async def _post(self, url: str, headers: dict[str, str], body: JsonBody) -> aiohttp.ClientResponse:
        words: dict[str, Any] = {}
        if url[:5].lower() == "https":
            words["ssl"] = tls_context(trust_env=self._trust_env)
        if self._proxies is not None:
            proxy_words, more = self._proxies.words_for(url)
            words, headers = words | proxy_words, headers | more
        session = self._session or self._connected()
        return await session.post(url, data=body, headers=headers, allow_redirects=False, **words)

    def _connected(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=DNS_TTL_S
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=AdmittedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
        )
        return self._session

    def _call_error(self, error: Exception) -> Exception | None:
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return CallError("connection", f"the proxy answered {error.status}")
        if isinstance(error, aiohttp.ClientConnectionError):
            why = refused(error) or type(error).__name__
            details = {"unreachable": True} if is_unreachable(error) else None
            return CallError("connection", f"the connection failed: {why}", details=details)
        if isinstance(error, aiohttp.ClientError):
            return CallError("connection", f"the connection broke: {type(error).__name__}")
        return None


class HttpAnswer:
    """An `Answer` over a response of aiohttp's."""

    def __init__(self, response: aiohttp.ClientResponse, most_bytes: int):
        content = response.content
        self._response = response
        self.headers: Mapping[str, str] = response.headers
        encoding = self.headers.get("Content-Encoding", "")
        self.body = Body(content.readany, lambda: left_in(content), encoding, most_bytes)

    async def close(self) -> None:
        self._response.release()


async def failure_of(answer: HttpAnswer, response: aiohttp.ClientResponse) -> CallError:
    """Read what an answer of failure says. Raises what the connection breaks with before it is whole."""
    pieces: list[bytes] = []
    while data := await answer.body.read():
        pieces.append(data)
    response.release()
    headers = response.headers
    return call_error(
        response.status,
        error_body(b"".join(pieces), response.charset),
        retry_after_s=(hinted_s if response.status == 429 else retry_after_s)(headers),
        asked=headers.get("x-should-retry"),
    )


def error_body(content: bytes, charset: str | None) -> Any:
    """Return the error object of an answer of failure; what is no JSON as text."""
    text = content.decode(text_encoding(charset), errors="replace").strip()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body.get("error", body) if isinstance(body, dict) else body
