"""The raw stub: an HTTP server that answers every chat completion with the same bytes, at once.

A framework's cost on the shared cores would be measured otherwise. `python bench/stub.py READY_FILE`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

VALUE = {"name": "thing", "price": 12, "tags": ["a", "b"], "in_stock": True, "note": "made for measuring"}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": list(VALUE),
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "in_stock": {"type": "boolean"},
        "note": {"type": "string"},
    },
}
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

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
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
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(RESPONSE)


async def main(ready: Path) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    temporary = ready.with_suffix(".part")
    temporary.write_text(f"http://127.0.0.1:{port}/v1")
    temporary.replace(ready)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
