"""The last question before a request leaves: may it still? Asked when a connection is there and its bytes are to be written.

A process can be stopped for minutes anywhere: while a request is made, while it connects. What it was told before no longer
holds then.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import aiohttp

from headrace_providers.wire.connection_use import begin_use, is_open, was_used

ADMIT: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("admit", default=None)
"""Awaited before a request leaves; raises the `Refused` that forbids it."""
LARGE = 1 << 20
"""Bytes of a body from which on aiohttp warns of it, unless it is a file."""


class AdmittedRequest(aiohttp.ClientRequest):
    """A request that nobody receives a byte of when `ADMIT` forbids it, or when its connection has become unfit while it was
    idle. What that raises, its sender gets."""

    _progress: Progress

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        is_large = isinstance(body, bytes) and len(body) > LARGE
        super().update_body_from_data(io.BytesIO(body) if is_large else body, _stacklevel + 1)

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        self._progress = Progress(is_reused=was_used(protocol))
        if self._progress.is_reused and not is_open(protocol):  # what has arrived already would be read as the answer
            raise aiohttp.ClientConnectionResetError("closed, or written to, while it was idle")
        response = await super().send(conn)
        if isinstance(response, AdmittedResponse):
            response.progress = self._progress
        return response

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        try:
            admit = ADMIT.get()
            if admit is not None:
                await admit()
        except Exception as refused:
            conn.protocol.set_exception(refused)
            return
        if not is_open(conn.protocol):
            conn.protocol.set_exception(aiohttp.ClientConnectionResetError("closed, or written to, while it was idle"))
            return
        begin_use(conn.protocol)
        self._progress.began = True
        await super().write_bytes(writer, conn, content_length)


class Progress:
    """The progress of a request on its connection. `began`: the other side may have a byte of it."""

    __slots__ = ("began", "is_reused")

    def __init__(self, *, is_reused: bool):
        self.is_reused = is_reused
        self.began = False


class AdmittedResponse(aiohttp.ClientResponse):
    """The response to an `AdmittedRequest`, and to nothing else."""

    progress: Progress | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        await super().start(connection)
        # On a new connection it is the server's own haste; on another it may answer a request of somebody else.
        if self.progress is not None and self.progress.is_reused and not self.progress.began:
            raise aiohttp.ClientConnectionResetError("answered before the request was written")
        return self
