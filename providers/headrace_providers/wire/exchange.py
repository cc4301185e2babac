"""One request and its response, over connections that are kept.

aiohttp's connector makes the connections (DNS, TLS, proxies, the pool) and its parser reads what comes back. Its
`ClientSession` stays out of it: redirects, cookies, hooks and a task that writes the body cost three times what all the rest
of a call does.
"""

from __future__ import annotations

import asyncio
import select
import time
from email.message import Message
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.hdrs import CONTENT_LENGTH, HOST
from yarl import URL

from headrace_providers.wire.admission import ADMIT

KEEP_ALIVE_S = 5.0
"""How long a connection without a request is kept."""
MAX_CONNECTION_S = 300.0
"""How long a connection is used: one that was made longer ago is closed after its next answer, so that an address that has
moved is followed."""
DNS_TTL_S = 10
MAX_STALE = 5
"""Connections in a row that turn out to be closed before a byte of the request was written to them."""
OWN_HEADERS = {"Accept": "application/json", "User-Agent": "headrace"}
PEER_CLOSED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_ages: WeakKeyDictionary[ResponseHandler, Age] = WeakKeyDictionary()
"""By a connection's protocol."""


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
            headers=OWN_HEADERS | headers,
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

    @property
    def charset(self) -> str | None:
        """The charset that its content type names."""
        said = Message()
        said["Content-Type"] = self.headers.get("Content-Type", "")
        return said.get_content_charset()

    def release(self) -> None:
        """Give the connection back; it is closed if something is left to be read, or to be sent."""
        protocol = self._connection.protocol
        if protocol is None:
            return
        transport = protocol.transport
        if transport is not None and transport.get_write_buffer_size():
            protocol.force_close()
        self._connection.release()

    def close(self) -> None:
        self._connection.close()


class Connections:
    """At most `most` connections, all of the current event loop. Each is used for one request at a time."""

    def __init__(self, *, most: int, connect_s: float):
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._connector = aiohttp.TCPConnector(limit=most, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=DNS_TTL_S)

    async def close(self) -> None:
        await self._connector.close()

    async def post(self, route: Route, headers: bytes, content: bytes) -> HttpResponse:
        """Send a request with these encoded `headers` beside the route's; return the response when its head has come.

        It is sent once. A connection that was closed before a byte was written to it is replaced by another. Raises what
        `ADMIT` forbids it with, `TimeoutError` when there is no connection in time, and aiohttp's errors.
        """
        connection = await self._admitted(route)
        protocol = connection.protocol
        transport = protocol.transport if protocol is not None else None
        assert protocol is not None
        assert transport is not None
        try:
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
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
        admit = ADMIT.get()
        for _ in range(MAX_STALE):
            connection = await self._connector.connect(route.request, [], self._timeout)
            try:
                if admit is not None:
                    await admit()
                if is_open(connection.protocol):
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()
        raise aiohttp.ServerDisconnectedError


class Age:
    """When a connection carried its first request, and how it is asked whether the other side has closed it."""

    def __init__(self, transport: asyncio.BaseTransport):
        self.began_s = time.monotonic()
        self._poll = select.poll()
        connection = transport.get_extra_info("socket")
        if connection is not None:
            self._poll.register(connection.fileno(), PEER_CLOSED)

    @property
    def was_closed(self) -> bool:
        """Return whether the other side has closed, though the loop has not come to see it yet."""
        try:
            return bool(self._poll.poll(0))
        except OSError:
            return True


def is_open(protocol: ResponseHandler | None) -> bool:
    """Return whether the other side has not closed a connection, so far as can be seen. One that is too old is closed after its
    next answer."""
    transport = protocol.transport if protocol is not None else None
    if protocol is None or transport is None or transport.is_closing():
        return False
    age = _ages.get(protocol)
    if age is None:
        _ages[protocol] = Age(transport)
        return True
    if time.monotonic() - age.began_s > MAX_CONNECTION_S:
        protocol.force_close()
    return not age.was_closed
