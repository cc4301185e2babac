"""uvicorn's WebSocket protocol, with fragmented messages, and with backpressure: it does not read from a client that does
not read."""

from __future__ import annotations

import contextlib
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.protocol import State

from headrace_api.access.connections import Connection

CLOSE_S = 2.0
"""Seconds that a client may take to answer the close frame."""
FRAGMENT = "headrace.fragment"
"""Key in a `websocket.send`, in place of `text`: a fragment of a message in UTF-8, with the flags first and last."""


class WebSocketProtocol(Connection, WebSocketsSansIOProtocol):
    """Pauses reading while a client does not read: the pongs to its pings would be buffered without a bound."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.close_timeout = CLOSE_S

    def check(self, now: float) -> None:
        self.check_leaving(now, self.config.limits)

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:  # empty ones without an end are within every limit of size, and would be kept
            super().handle_cont(event)

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(InvalidState):  # what comes after the end, in the same piece
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:  # no handshake: uvicorn takes it for granted
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            self.transport.close()
            return
        super().handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:  # uvicorn writes a traceback for it
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def send(self, message: Any) -> None:
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        fragment = message.get(FRAGMENT)
        if fragment is None:
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        data, first, last = fragment
        (self.conn.send_text if first else self.conn.send_continuation)(data, fin=last)
        self.transport.write(b"".join(self.conn.data_to_send()))
