"""A TCP proxy on loopback between a client and a server, which can turn into a black hole, or lose replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Proxy:
    """`swallow()` makes black holes of the present connections: they stay open, and nothing passes. `cut_replies` closes a
    connection in place of the next so many replies; where `drop(data)` is true the client does not get that piece."""

    def __init__(self, port: int):
        self.port = port
        self.server_port = port
        self._holes: set[asyncio.Task[None]] = set()
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
                await self._both(
                    self._pipe(reader, back, task, replies=False), self._pipe(there, writer, task, replies=True)
                )
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

    async def _pipe(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        connection: asyncio.Task[None],
        *,
        replies: bool,
    ) -> None:
        while data := await source.read(1 << 16):
            if connection in self._holes or (replies and self.drop(data)):
                continue
            if replies and self.cut_replies:
                self.cut_replies -= 1
                self.cuts += 1
                return
            target.write(data)
            await target.drain()

    def swallow(self) -> None:
        self._holes |= self._tasks

    async def switch(self, port: int) -> None:
        """From now on the server at `port`; every connection to the other one is cut."""
        self.server_port = port
        await self.close()

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
