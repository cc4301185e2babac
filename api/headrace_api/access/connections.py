"""Limits of connections: deadlines for requests, for slow readers of answers, and the number of connections.

uvicorn has only a keep-alive timeout. Deadlines are checked by a sweep over all connections, so that a request only notes
when its parts began: a timer for each would be set and cancelled with every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Protocol, cast

import h11
import msgspec
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from headrace.settings import Settings
from headrace_api.access.corked_transport import CorkedTransport
from headrace_api.access.middleware import new_request_id
from headrace_api.access.peers import is_another_users

RESERVED_DESCRIPTORS = 128
"""Descriptors kept back for Redis, the log and files when all connections are open."""
MIN_BYTES_PER_S = 16 * 1024
LINGER_S = 5.0
"""Seconds to read the rest of a body whose answer was sent before it."""
TURNS = 10


def raw_response(status: bytes, code: str, message: str) -> bytes:
    """Return a raw HTTP response from outside the application, after which the connection is closed."""
    sort = "server_error" if status.startswith(b"5") else "invalid_request_error"
    body = msgspec.json.encode({"error": {"message": message, "type": sort, "param": None, "code": code}})
    return (
        b"HTTP/1.1 %b\r\nconnection: close\r\nretry-after: 5\r\ncache-control: no-store\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    )


def with_request_id(response: bytes) -> bytes:
    """Return a raw response with an id of its own."""
    return response.replace(b"\r\n", b"\r\nx-request-id: %b\r\n" % new_request_id(), 1)


BUSY = raw_response(b"503 Service Unavailable", "busy", "too many connections are open here; try again")
STRANGER = raw_response(
    b"403 Forbidden",
    "forbidden",
    "this gateway is open to the user that runs it alone, and you are another one. For others: HEADRACE_GATEWAY_OPEN=0 and "
    "tokens, or HEADRACE_GATEWAY_OPEN=1 to let in everybody on this machine",
)
LATE = raw_response(b"408 Request Timeout", "timeout", "the request took too long to come")


class Limits(msgspec.Struct, frozen=True):
    """Limits of one gateway process: `connections` at a time, seconds for the head and the body of a request, and seconds
    that a slow reader may take nothing."""

    connections: int
    head_s: float
    body_s: float
    slow_reader_s: float

    @classmethod
    def of(cls, settings: Settings, descriptors: int) -> Limits:
        """Return the settings' limits, with no more connections than a process with so many `descriptors` can hold."""
        most = max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)
        connections = min(settings.gateway_connections, most)
        return cls(connections, settings.gateway_head_s, settings.gateway_body_s, settings.slow_reader_s)


class Config(uvicorn.Config):
    """uvicorn's configuration, with the limits of connections, and the open ones by the address of their clients."""

    def __init__(self, app: Any, *, limits: Limits, own_user_only: bool, **options: Any):
        super().__init__(app, **options)
        self.limits = limits
        self.own_user_only = own_user_only
        self.connections: dict[Any, Connection] = {}
        self.on_lost: Callable[[tuple[Any, ...]], None] = lambda peer: None


class Connection(asyncio.Protocol):
    """The part that both protocols share: registration, and closing with unsent data that the client does not read."""

    config: Config
    client: Any
    transport: asyncio.Transport
    _leaves_until: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.config.connections[self.client] = self

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.connections.pop(self.client, None)
        super().connection_lost(exc)
        self.config.on_lost(tuple(self.client or ()))

    def check_leaving(self, now: float, limits: Limits) -> bool:
        """Return True if it is being closed; it is aborted when that takes too long."""
        if not self.transport.is_closing():
            return False
        if self._leaves_until is None:
            rest_s = self.transport.get_write_buffer_size() / MIN_BYTES_PER_S
            self._leaves_until = now + limits.slow_reader_s + rest_s
        elif now > self._leaves_until:
            self.transport.abort()
        return True


class HttpProtocol(Connection, H11Protocol):
    """uvicorn's HTTP protocol, with deadlines for the head and the body of every request, and none for an answer."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._limits = self.config.limits
        self._stage: Any = h11.IDLE  # of the request: h11's state of the client
        self._since = self.loop.time()
        self._received = 0  # bytes in this stage
        self._unread_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, CorkedTransport(self.transport, self.loop))
        if len(self.connections) > self._limits.connections:
            self.transport.write(with_request_id(BUSY))
            self.transport.close()
        elif self.config.own_user_only and is_another_users(self.client, self.server):
            self.transport.write(with_request_id(STRANGER))
            self.transport.close()

    def handle_websocket_upgrade(self, event: Any) -> None:
        corked = cast(CorkedTransport, self.transport)
        corked.flush()
        self.transport = corked.inner  # a WebSocket's frames leave one by one
        super().handle_websocket_upgrade(event)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is self._stage:
            self._received += len(data)
        else:
            self._begin_stage()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._begin_stage()

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # its application would answer as well
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # after an answer that was the last
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def _begin_stage(self) -> None:
        self._stage = self.conn.their_state
        self._since = self.loop.time()
        self._received = 0

    def check(self, now: float) -> None:
        """Close the connection when its request, or its answer, is past the deadline."""
        if self.check_leaving(now, self._limits):
            return
        if self._unread_since is not None:
            rest_s = self.transport.get_write_buffer_size() / MIN_BYTES_PER_S
            if now - self._unread_since > self._limits.slow_reader_s + rest_s:
                self.transport.abort()
            return
        if self._stage is h11.IDLE:
            limit_s = self._limits.head_s
        elif self._stage is h11.SEND_BODY:
            answered = self.cycle is not None and self.cycle.response_complete
            limit_s = LINGER_S if answered else self._limits.body_s + self._received / MIN_BYTES_PER_S
        else:
            return
        if now - self._since > limit_s:
            self._close_late()

    def _close_late(self) -> None:
        idle = self._stage is h11.IDLE
        cycle = None if idle else self.cycle
        if self.conn.trailing_data[0] if cycle is None else not cycle.response_started:
            self.transport.write(with_request_id(LATE))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


class Checked(Protocol):
    def check(self, now: float) -> None: ...


class Sweep:
    """A periodic check of all connections, some at each turn, so that ten thousand of them block no stream."""

    def __init__(self, connections: Collection[Any]):
        self._connections = connections
        self._left: list[Checked] = []
        self._part = 1

    def turn(self, now: float) -> None:
        if not self._left:
            self._left = list(self._connections)
            self._part = len(self._left) // TURNS + 1
        part, self._left = self._left[-self._part :], self._left[: -self._part]
        for connection in part:
            if connection in self._connections:  # it may have become a WebSocket, or left
                connection.check(now)
