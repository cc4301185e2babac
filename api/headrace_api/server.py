"""The HTTP server: uvicorn, which starts the drain at the signal, not after its grace period."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from headrace.logs import get_logger
from headrace_api.access.connections import Config, HttpProtocol, Limits, Sweep
from headrace_api.requests.answer_delivery import Delivery, Exchange
from headrace_api.routes.websocket import MAX_FRAME_BYTES
from headrace_api.state import Gateway
from headrace_api.streaming.ws_protocol import WebSocketProtocol

log = get_logger("headrace.api.server")

ACCEPTED_AT_ONCE = 32
"""Maximal number of connections accepted in one turn of the loop, before any of them can be refused: far fewer than the
reserved descriptors."""
GRACE_S = 2
LAST_WORD_S = 2.0


class Server(uvicorn.Server):
    """uvicorn's server. It sets `gateway.draining` at the first signal; `gateway.abort` closes the connection of a client
    that reads nothing."""

    def __init__(self, config: Config, gateway: Gateway):
        super().__init__(config)
        self._gateway = gateway
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = config.connections
        self._sweep = Sweep(self.server_state.connections)
        self.on_start: Callable[[], None] = lambda: None
        gateway.abort = self._abort
        gateway.delivery = self._delivery
        config.on_lost = lambda peer: gateway.on_lost(peer)

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.on_start()

    async def on_tick(self, counter: int) -> bool:
        try:
            self._sweep.turn(asyncio.get_running_loop().time())
        except Exception as error:  # one connection must not end the process of all
            log.error("unforeseen", exc_info=error)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn raises what it caught once more at its end; ending in order, by a signal meant for it, is a success.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gateway.draining.set)

    def _abort(self, scope: Any, last: bytes) -> None:
        """Abort the connection of `scope`; a WebSocket is sent the close frame with the body `last` first.

        A graceful close would wait for its buffers to drain, as long as the client likes.
        """
        connection = self._connections.get(tuple(scope.get("client") or ()))
        if connection is None:
            return
        if last and self._loop is not None:
            connection.transport.write(bytes([0x88, len(last)]) + last)
            self._loop.call_later(LAST_WORD_S, connection.transport.abort)
        else:
            connection.transport.abort()

    def _delivery(self, exchange: Exchange) -> Delivery:
        connection: Any = self._connections.get(exchange.peer)
        if connection is None or connection.transport.is_closing():
            return "closed"
        cycle = connection.cycle
        if cycle is None or not exchange.is_of(cycle.scope):
            return "read"
        whole = cycle.response_complete and not connection.transport.get_write_buffer_size()
        return "settled" if whole else "pending"


def make_server(app: Any, gateway: Gateway, descriptors: int) -> Server:
    """Return a server for `app`, to be given its sockets, in a process that may have so many `descriptors`.

    WebSockets are those of `websockets`, in its sans-I/O form: of the two that uvicorn supports without a warning, it
    refuses a frame over the limit before all of it was received. No compression: a deflater per viewer costs too much
    memory.
    """
    config = Config(
        app,
        limits=Limits.of(gateway.settings, descriptors),
        own_user_only=gateway.callers.is_implicit,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=ACCEPTED_AT_ONCE,
        proxy_headers=False,  # who writes them is not known here
        lifespan="off",
    )
    return Server(config, gateway)
