"""Clients that begin something and never end it, as bare sockets, and what a plain request takes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

HALF_HEAD = b"GET /v1/jobs/job_none HTTP/1.1\r\nHost: localhost\r\nX-A: "
HALF_BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
HALF_CHUNK = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{"
UNREAD_BODY = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"
HALF_UPGRADE = b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgr"
WHOLE = b"GET /v1/jobs/job_none HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOCKET = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LAZY = {
    "says nothing": b"",
    "half a head": HALF_HEAD,
    "half a head on a connection that was used": WHOLE + HALF_HEAD,
    "half an upgrade": HALF_UPGRADE,
    "half a body": HALF_BODY,
    "half a chunked body": HALF_CHUNK,
    "half a body that nobody wants": UNREAD_BODY,
    "a silent WebSocket": SOCKET,
}


class Lazy:
    """One of them: how long the gateway has kept it, in seconds, once `run` is through."""

    def __init__(self, base: str, said: bytes, *, drip: bytes = b""):
        parts = urlsplit(base)
        self._address = str(parts.hostname), int(parts.port or 0)
        self._said = said
        self._drip = drip
        self.lasted_s: float | None = None
        self.heard = b""

    async def run(self) -> None:
        """Until the gateway has closed it. With `drip`, so much is sent every tenth of a second."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*self._address)
            dripping = asyncio.create_task(self._go_on(writer)) if self._drip else None
            try:
                writer.write(self._said)
                while part := await reader.read(1 << 16):
                    self.heard += part
            finally:
                if dripping is not None:
                    dripping.cancel()
                writer.close()
        self.lasted_s = time.monotonic() - began

    async def _go_on(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(0.1)
            writer.write(self._drip)


class Latencies:
    """What plain requests take, each on a connection of its own, seen by a process of its own: `with` begins, and its end
    ends it; `took_s` then has them in order of time."""

    def __init__(self, base: str):
        self._base = base
        self.took_s: list[float] = []

    def __enter__(self) -> Latencies:
        command = [sys.executable, __file__, self._base]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate(timeout=30)
        self.took_s = json.loads(said)

    def ms(self, part: float) -> float:
        """The quantile of that part (0 to 1), in milliseconds."""
        ordered = sorted(self.took_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def measure(base: str) -> list[float]:
    """Until the standard input ends."""
    parts = urlsplit(base)
    address = str(parts.hostname), int(parts.port or 0)
    took: list[float] = []
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        began = time.perf_counter()
        with socket.create_connection(address, 30) as connection:
            connection.sendall(WHOLE)
            head = connection.recv(1 << 16)
        took.append(time.perf_counter() - began)
        assert head.startswith(b"HTTP/1.1 404"), head
    return took


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
