"""The streaming stub: an OpenAI-compatible provider whose chunks say when they were sent.

Every request is held open until `POST /go?chunks=N&rate=R`; then all streams send N chunks each, R a second, evenly staggered.
`GET /open` says how many are held. A chunk's text is the monotonic clock of its birth, which Linux shares between
processes. `python -m bench.streaming_stub READY_FILE`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
START = b'{"id":"chatcmpl-stub","object":"chat.completion.chunk","created":1,"model":"stub","choices":[{"index":0,'
TEXT = b"data: " + START + b'"delta":{"content":"%.6f "},"finish_reason":null}]}\n\n'
STOP = b"data: " + START + b'"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = (
    b'data: {"id":"chatcmpl-stub","object":"chat.completion.chunk","created":1,"model":"stub","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Streams:
    """The requests that are held, and what they are sent."""

    def __init__(self) -> None:
        self.held: list[asyncio.Transport] = []
        self.task: asyncio.Task[None] | None = None

    def go(self, chunks: int, rate: float) -> None:
        streams, self.held = self.held, []
        self.task = asyncio.create_task(self._send(streams, chunks, rate))

    async def _send(self, streams: list[asyncio.Transport], chunks: int, rate: float) -> None:
        began, step = time.monotonic(), 1 / rate / max(len(streams), 1)
        for number in range(chunks * len(streams)):
            wait_s = began + number * step - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            streams[number % len(streams)].write(chunked(TEXT % time.monotonic()))
        for stream in streams:
            stream.write(chunked(STOP) + chunked(USAGE) + chunked(DONE) + b"0\r\n\r\n")


class Stub(asyncio.Protocol):
    """Just enough HTTP/1.1: reads a request by its content length."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, target: str) -> None:
        assert self._transport is not None
        url, body = urlsplit(target), b"{}"
        if url.path.endswith("/chat/completions"):
            self._transport.write(HEAD)
            self._streams.held.append(self._transport)
            return
        if url.path == "/go":
            asked = parse_qs(url.query)
            self._streams.go(int(asked["chunks"][0]), float(asked["rate"][0]))
        elif url.path == "/open":
            body = b"%d" % len(self._streams.held)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def main(ready: Path) -> None:
    streams = Streams()
    server = await asyncio.get_running_loop().create_server(lambda: Stub(streams), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    temporary = ready.with_suffix(".part")
    temporary.write_text(f"http://127.0.0.1:{port}")
    temporary.replace(ready)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
