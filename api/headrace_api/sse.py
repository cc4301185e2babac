"""Server-sent events, as every client that was tried takes them.

`retry:` stands inside the first event's block, and a heartbeat is a comment with one line feed: as blocks of their own, both
end the official OpenAI client for Python (it reads every block as JSON).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from headrace_api.views import Frame

HEARTBEAT = b": hb\n"
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
# Not line ends of SSE, but of clients that split lines as Python does; in JSON they may be written so.
ESCAPED = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def block(frame: Frame, *, retry_ms: int | None = None) -> bytes:
    """One frame; its data is JSON, or a word, without line ends."""
    data = frame.data
    for raw, written in ESCAPED:
        if raw in data:
            data = data.replace(raw, written)
    head = f"id: {frame.id}\n" if frame.id is not None else ""
    retry = f"retry: {retry_ms}\n" if retry_ms is not None else ""
    return (head + retry).encode() + b"data: " + data + b"\n\n"


class Encoder:
    """The blocks of one response. The first says how long to wait before coming back, not the same for everyone."""

    def __init__(self) -> None:
        self._retry_ms: int | None = random.randint(500, 2500)

    def encode(self, frames: Iterable[Frame]) -> bytes:
        blocks = []
        for frame in frames:
            blocks.append(block(frame, retry_ms=self._retry_ms))
            self._retry_ms = None
        return b"".join(blocks)
