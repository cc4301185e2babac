"""The last question before a request leaves: may it still? Asked when a connection is there and its bytes are to be written.

A process can be stopped for minutes anywhere: while a request is made, while it connects. What it was told before no longer
holds then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import aiohttp

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
