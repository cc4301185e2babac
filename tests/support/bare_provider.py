"""A provider as a bare socket: it writes exactly the bytes that it is told, in exactly these pieces, and ends as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

End = Literal["clean", "open", "fin", "reset"]
"""How a connection ends: as HTTP says, not at all, closed before the body's end, or reset."""
SSE_HEAD = {"Content-Type": "text/event-stream"}
JSON_HEAD = {"Content-Type": "application/json"}


class Reply:
    """What is written for a request: chunks of HTTP, one for each piece; a number is a pause in seconds, a `bytes` head is
    written as it is instead of one made of `status` and `headers`."""

    def __init__(
        self,
        pieces: Iterable[bytes | float],
        headers: dict[str, str] | None = None,
        *,
        end: End = "clean",
        status: str = "200 OK",
        head: bytes | None = None,
        framed: bool = True,
    ):
        self.pieces, self.end, self.framed = list(pieces), end, framed
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (headers or SSE_HEAD).items())]
        self.head = head or ("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""])).encode()


class BareProvider:
    def __init__(self) -> None:
        self.reply = Reply([])
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                self.requests.append(head + await reader.readexactly(length))
                if not await self.answer(self.reply, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        waiting = reply.head  # along with the first piece, as one packet
        for piece in reply.pieces:
            if isinstance(piece, bytes):
                waiting += b"%x\r\n%s\r\n" % (len(piece), piece) if reply.framed else piece
                if len(reply.pieces) > 1:
                    writer.write(waiting)
                    await writer.drain()
                    waiting = b""
                    await asyncio.sleep(0)
            else:
                writer.write(waiting)
                waiting = b""
                await asyncio.sleep(piece)
        if reply.end == "clean":
            writer.write(waiting + (b"0\r\n\r\n" if reply.framed else b""))
            await writer.drain()
            return reply.framed
        writer.write(waiting)
        await writer.drain()
        if reply.end == "open":
            await asyncio.sleep(60)
        if reply.end == "reset":
            connection: Any = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


@asynccontextmanager
async def bare_provider() -> AsyncIterator[BareProvider]:
    provider = BareProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.close()


def event(data: Any, end: str = "\n", name: str | None = None) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}{end}" if name else "").encode() + f"data: {text}{end}{end}".encode()
