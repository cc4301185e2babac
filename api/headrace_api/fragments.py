"""uvicorn's WebSockets, which also write a message in fragments, and do not read from who does not read."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

FRAGMENT = "headrace.fragment"
"""In place of `text` in a `websocket.send`: a part of a message in UTF-8, whether it is the first, and whether the last."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Reads nothing from a client that does not read: the pongs to its pings would lie here, however many they are."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def send(self, message: Any) -> None:
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
