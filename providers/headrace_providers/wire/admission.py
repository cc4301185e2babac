"""The last question before a request leaves: may it still? Asked when a connection is there and its bytes are to be written.

A process can be stopped for minutes anywhere: while a request is made, while it connects. What it was told before no longer
holds then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import aiohttp
import httpx2
import openai
from openai._vendor.httpx_aiohttp import AiohttpTransport

ADMIT: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("admit", default=None)
"""Awaited before a request leaves; raises the `Refused` that forbids it."""


class AdmittedRequest(aiohttp.ClientRequest):
    """A request that nobody receives a byte of when `ADMIT` forbids it. What that raises, its sender gets."""

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        admit = ADMIT.get()
        if admit is not None:
            try:
                await admit()
            except Exception as refused:
                conn.protocol.set_exception(refused)
                return
        await super().write_bytes(writer, conn, content_length)


def http_client(*, connections: int, connect_s: float, hooks: dict[str, list[Any]]) -> httpx2.AsyncClient:
    """The SDK's HTTP client on aiohttp, with requests that ask. It follows nothing, keeps no cookies, and reads no
    environment; it has no limits of time but that for connecting."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=connections, keepalive_timeout=limits.keepalive_expiry, ssl=transport.ssl_context
        )
        jar = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(connector=connector, request_class=AdmittedRequest, cookie_jar=jar)

    transport = AiohttpTransport(trust_env=False, limits=limits, client=session)
    return openai.DefaultAioHttpClient(
        transport=transport,
        follow_redirects=False,
        trust_env=False,
        limits=limits,
        timeout=httpx2.Timeout(None, connect=connect_s),
        event_hooks=hooks,
    )
