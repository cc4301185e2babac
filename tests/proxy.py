"""A TCP proxy on loopback between a client and a server, which can turn into a black hole, or lose replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Proxy:
    """`hole` swallows everything in both directions, connections stay open; `cut_replies` closes a connection in place of
    the next so many replies; `drop(data)` true keeps that piece of the server's from the client."""

    def __init__(self, port: int):
        self.port = port
        self.server_port = port
        self.hole = False
        self.cut_replies = 0
        self.cuts = 0
        self.connections = 0
        self.drop: Callable[[bytes], bool] = lambda data: False
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
            try:
                await self._both(self._pipe(reader, back, replies=False), self._pipe(there, writer, replies=True))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _both(self, *pipes: object) -> None:
        tasks = [asyncio.ensure_future(pipe) for pipe in pipes]  # type: ignore[arg-type]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await source.read(1 << 16):
            if self.hole or (replies and self.drop(data)):
                continue
            if replies and self.cut_replies:
                self.cut_replies -= 1
                self.cuts += 1
                return
            target.write(data)
            await target.drain()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """A proxy before the server at `port`; `proxy.port` is where it listens."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()
