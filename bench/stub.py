"""The raw stub: an HTTP server that answers every chat completion with the same bytes, at once or after a latency.

A framework's cost on the shared cores would be measured otherwise. `python -m bench.stub READY_FILE [SECONDS]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bench.peers.item import VALUE

ANSWER = json.dumps(
    {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": json.dumps(VALUE), "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 30, "total_tokens": 80},
    }
).encode()
RESPONSE = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)) + ANSWER


class Stub(asyncio.Protocol):
    """Just enough HTTP/1.1: reads a request by its content length, writes the response."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        """Answer the request of that body."""
        assert self._transport is not None
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, RESPONSE)
        else:
            self._transport.write(RESPONSE)


async def main(ready: Path, latency_s: float) -> None:
    # A client with thousands of calls in flight connects as often at once: the default backlog of 100 would make it wait.
    server = await asyncio.get_running_loop().create_server(lambda: Stub(latency_s), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    temporary = ready.with_suffix(".part")
    temporary.write_text(f"http://127.0.0.1:{port}/v1")
    temporary.replace(ready)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
