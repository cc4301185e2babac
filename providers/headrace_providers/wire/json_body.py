"""The body of a request, which knows whether a byte of it may have reached anybody."""

from __future__ import annotations

import asyncio
import select
import time
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

MAX_CONNECTION_S = 300.0
"""How long a connection is used: one that was made longer ago is closed after its next answer, so that an address that has
moved is followed."""
PEER_CLOSED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_made_at: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""When a connection carried its first request, by its protocol."""


class JsonBody(aiohttp.Payload):
    """JSON that is ready to be sent. `began`: its writing has begun, so the other side may have the request.

    A connection that has carried a request before, and was closed by the other side since, raises `ConnectionResetError`
    instead: the head of a request leaves along with its body, so nobody has a byte of it.
    """

    _autoclose = True

    def __init__(self, content: bytes):
        super().__init__(content, content_type="application/json")
        self._size = len(content)
        self.began = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: Any) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        protocol, transport = writer.protocol, writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("closed before the request was written")
        made_at = _made_at.get(protocol)
        if made_at is None:
            _made_at[protocol] = time.monotonic()
        elif was_closed(transport):
            raise ConnectionResetError("closed by the other side while it was idle")
        elif time.monotonic() - made_at > MAX_CONNECTION_S:
            protocol.force_close()
        self.began = True
        await writer.write(self._value)


def was_closed(transport: asyncio.BaseTransport) -> bool:
    """Return whether the other side has closed, though the loop has not come to see it yet."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return False
    try:
        poll = select.poll()
        poll.register(connection.fileno(), PEER_CLOSED)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
