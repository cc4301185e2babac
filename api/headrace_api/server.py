"""The HTTP server: uvicorn, which says at the signal, and not after its grace, that it is time to go."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from headrace_api.fragments import WebSocketProtocol
from headrace_api.gateway import Gateway
from headrace_api.sockets import MOST_FRAME_BYTES
from headrace_api.unread import Delivery, Exchange

GRACE_S = 2
LAST_WORD_S = 2.0


class Server(uvicorn.Server):
    """Sets `gateway.draining` at the first signal. `gateway.abort` closes a connection whose client takes nothing."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway):
        super().__init__(config)
        self._gateway = gateway
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_start: Callable[[], None] = lambda: None
        gateway.abort = self._abort
        gateway.deliveries = self._deliveries

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn raises what it caught once more at its end; ending in order, by a signal meant for it, is a success.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gateway.draining.set)

    def _abort(self, scope: Any, last: bytes) -> None:
        """Drop the connection of `scope`; with `last`, the body of a close frame, a WebSocket is told first.

        Closing in order would wait for what is in its buffers, for as long as the client likes.
        """
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) != tuple(scope.get("client") or ()):
                continue
            transport: Any = connection.transport
            if last and self._loop is not None:
                transport.write(bytes([0x88, len(last)]) + last)
                self._loop.call_later(LAST_WORD_S, transport.abort)
            else:
                transport.abort()

    def _deliveries(self) -> Callable[[Exchange], Delivery]:
        connections = {getattr(one, "client", None): one for one in list(self.server_state.connections)}

        def delivery_of(exchange: Exchange) -> Delivery:
            connection: Any = connections.get(exchange.peer)
            if connection is None or connection.transport.is_closing():
                return "closed"
            cycle = connection.cycle
            if cycle is None or id(cycle.scope) != exchange.scope_id:
                return "settled"  # it asks for something else by now
            whole = cycle.response_complete and not connection.transport.get_write_buffer_size()
            return "settled" if whole else "pending"

        return delivery_of


def make_server(app: Any, gateway: Gateway) -> Server:
    """A server for `app`, to be given its sockets.

    WebSockets are those of `websockets`, in its sans-I/O form: of the two that uvicorn knows without a warning, it closes a
    frame over the limit before the whole of it has come. No compression: it costs a deflater's memory per viewer.
    """
    config = uvicorn.Config(
        app,
        ws=WebSocketProtocol,
        ws_max_size=MOST_FRAME_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    return Server(config, gateway)
