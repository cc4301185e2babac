"""One request and its response, over connections that are kept.

aiohttp's connector makes the connections (DNS, TLS, proxies, the pool) and its parser reads what comes back. Its
`ClientSession` stays out of it: redirects, cookies, hooks and a task that writes the body cost three times what all the rest
of a call does.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.hdrs import CONTENT_LENGTH, HOST
from yarl import URL

from headrace_providers.wire.admission import ADMIT
from headrace_providers.wire.connection_use import begin_use, is_open, was_used
from headrace_providers.wire.connector import MAX_LINE, Connector
from headrace_providers.wire.transport import merged_headers

KEEP_ALIVE_S = 5.0
"""How long a connection without a request is kept."""
DNS_TTL_S = 10
MAX_STALE = 5
"""New connections that turn out to be closed before a byte of the request was written to them. Of those that were kept any
number may: the loop has stood still, and the other side has closed them all."""
OWN_HEADERS = {"Accept": "application/json", "User-Agent": "headrace"}


class Route:
    """The part of their requests that calls share: an address, a way there, and headers; `head` is its encoded form.

    Raises `ValueError` for a header that would end in another one.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        loop: asyncio.AbstractEventLoop,
        *,
        ssl: Any = True,
        proxy: str | None = None,
        proxy_headers: dict[str, str] | None = None,
    ):
        address = URL(url)
        self.request = aiohttp.ClientRequest(
            "POST",
            address,
            headers=merged_headers(OWN_HEADERS, headers),
            loop=loop,
            ssl=ssl,
            proxy=URL(proxy) if proxy else None,
            # The connector adds the host to them, and then keeps connections by them: so it has to be there from the start.
            proxy_headers={HOST: address.host_port_subcomponent or ""} | (proxy_headers or {}),
        )
        through_proxy = self.request.proxy is not None and not self.request.is_ssl()
        target = str(self.request.url) if through_proxy else self.request.url.raw_path_qs
        lines = [f"POST {target} HTTP/1.1"]
        # aiohttp has given it the length of the body that it does not have.
        lines += [f"{name}: {value}" for name, value in self.request.headers.items() if name != CONTENT_LENGTH]
        self.head = b"".join(header_line(line) for line in lines)


def header_line(line: str) -> bytes:
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError("a header with a line break or a NUL in it")
    return line.encode() + b"\r\n"


class HttpResponse:
    """A response of which the head was read. End it with `release`, or with `close` where its connection is of no more use."""

    def __init__(self, message: aiohttp.http.RawResponseMessage, content: aiohttp.StreamReader, connection: Connection):
        self.status = message.code
        self.headers = message.headers
        self.content = content
        self._connection = connection

    def release(self) -> None:
        """Give the connection back; it is closed if something is left to be read, or to be sent."""
        self._end_content()
        self._connection.release()

    def close(self) -> None:
        self._end_content()
        self._connection.close()

    def _end_content(self) -> None:
        """Wake up whoever still reads it: a connection that is closed on this side tells its reader nothing."""
        if not self.content.is_eof():
            self.content.set_exception(aiohttp.ClientConnectionError("the connection was closed"))


class Connections:
    """At most `most` connections, all of the current event loop. Each is used for one request at a time."""

    def __init__(self, *, most: int, connect_s: float):
        self._timeout = aiohttp.ClientTimeout(total=None)
        self._connector = Connector(
            connect_s=connect_s, limit=most, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=DNS_TTL_S
        )

    async def close(self) -> None:
        await self._connector.close()

    async def post(self, route: Route, headers: bytes, content: bytes) -> HttpResponse:
        """Send a request with these encoded `headers` beside the route's; return the response when its head has come.

        It is sent once. A connection that was closed, or that the other side wrote to unasked, before a byte was written to it
        is replaced. Raises what `ADMIT` forbids it with, `TimeoutError` when there is no connection in time, and aiohttp's
        errors.
        """
        connection = await self._admitted(route)
        protocol = connection.protocol
        transport = protocol.transport if protocol is not None else None
        assert protocol is not None
        assert transport is not None
        try:
            begin_use(protocol)
            protocol.set_response_params(
                read_until_eof=True, auto_decompress=False, max_line_size=MAX_LINE, max_field_size=MAX_LINE
            )
            transport.write(b"%b%bContent-Length: %d\r\n\r\n%b" % (route.head, headers, len(content), content))
            while True:
                message, payload = await protocol.read()
                if not 100 <= message.code <= 199 or message.code == 101:
                    return HttpResponse(message, payload, connection)
        except BaseException:
            connection.close()
            raise

    async def _admitted(self, route: Route) -> Connection:
        """Return a connection, open as far as can be known, after the request was admitted."""
        admit, closed_new = ADMIT.get(), 0
        while closed_new < MAX_STALE:
            connection = await self._connector.connect(route.request, [], self._timeout)
            protocol = connection.protocol
            try:
                is_kept = protocol is not None and was_used(protocol)
                if admit is not None:
                    await admit()
                if is_open(protocol):
                    return connection
                closed_new += not is_kept
            except BaseException:
                connection.close()
                raise
            connection.close()
        raise aiohttp.ServerDisconnectedError
