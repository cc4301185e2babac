"""Server-sent events, in the form that every tested client accepts.

`retry:` is in the first event's block, and a heartbeat is a comment with one line feed: as blocks of their own, both end
the official OpenAI client for Python (it decodes every block as JSON).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from headrace_api.views import Frame

HEARTBEAT = b": hb\n"
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}
# Not line ends of SSE, but of clients that split lines as Python does; in JSON they may be written so.
ESCAPED = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


TYPE, QUOTE = b'{"type":"', b'"'
PIECE_BYTES = 64 * 1024
"""Bytes per write: of a large event, no more than that is buffered for a slow reader."""


def head(frame: Frame, retry_ms: int | None, *, named: bool = False) -> bytes:
    """Return the lines of a frame before its data. With `named` its `type`, which it begins with, is the event's name."""
    name = ""
    if named:
        name = f"event: {frame.data[len(TYPE) : frame.data.index(QUOTE, len(TYPE))].decode()}\n"
    id = f"id: {frame.id}\n" if frame.id is not None else ""
    retry = f"retry: {retry_ms}\n" if retry_ms is not None else ""
    return f"{name}{id}{retry}data: ".encode()


def line(data: bytes) -> bytes:
    """Return the data of a frame, JSON or a word, as one line for every client."""
    for raw, written in ESCAPED:
        if raw in data:
            data = data.replace(raw, written)
    return data


def cut(data: bytes) -> Iterator[bytes]:
    """Yield text in UTF-8 in pieces of about `PIECE_BYTES`, none of which ends within a character."""
    at = 0
    while at < len(data):
        end = at + PIECE_BYTES
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        yield data[at:end]
        at = end


class Encoder:
    """Encodes the blocks of one response. The first has the reconnection delay, with jitter. With `named` the events have
    names, the `type` that each frame begins with."""

    def __init__(self, *, named: bool = False) -> None:
        self._named = named
        self._retry_ms: int | None = random.randint(500, 2500)

    def encode(self, frames: Iterable[Frame]) -> bytes:
        return b"".join(self.pieces(frames))

    def pieces(self, frames: Iterable[Frame]) -> Iterator[bytes]:
        """Yield the same, in pieces of a bounded size."""
        waiting: list[bytes] = []
        for frame in frames:
            waiting.append(head(frame, self._retry_ms, named=self._named))
            self._retry_ms = None
            if len(frame.data) <= PIECE_BYTES:
                waiting.append(line(frame.data))
            else:
                yield b"".join(waiting)
                waiting = []
                yield from map(line, cut(frame.data))
            waiting.append(b"\n\n")
        yield b"".join(waiting)
