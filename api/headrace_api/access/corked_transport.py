"""A transport that sends what is written within one turn of the loop at once: the head and the body of an answer in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

MAX_HELD = 64 * 1024
"""Bytes that are held back at most: from there on the transport's own flow control has to see them."""


class CorkedTransport:
    """`transport`, whose `write` collects until the loop's next turn. Everything else is passed on."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self.inner = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._bytes += len(data)
        if self._bytes >= MAX_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        held, self._held, self._bytes = self._held, [], 0
        if held:
            self.inner.write(held[0] if len(held) == 1 else b"".join(held))

    def get_write_buffer_size(self) -> int:
        return self.inner.get_write_buffer_size() + self._bytes

    def close(self) -> None:
        self.flush()
        self.inner.close()

    def abort(self) -> None:
        self._held, self._bytes = [], 0
        self.inner.abort()
