"""The ids that an input has used, in bounded memory: from some ten thousand on, they wait in a file until its end."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from typing import IO

MAX_HELD = 50_000
PARTS = 64
FLUSH_BYTES = 4096
ENTRY = struct.Struct("<qQ")


class SeenIds:
    """A set of ids, by their hash of 64 bits, each with the number of its line. An id that is used twice is told at once as long
    as all are held; of later ones `late` tells."""

    def __init__(self) -> None:
        self.count = 0
        self._held: dict[int, int] = {}
        self._files: list[IO[bytes]] = []
        self._waiting = [bytearray() for _ in range(PARTS)]

    def add(self, custom_id: str, number: int) -> int:
        """Note an id. Returns the line that has used it before; 0 where none is known."""
        mark = hash(custom_id)  # siphash, with a key of this process: nobody can prepare two ids that meet
        if before := self._held.get(mark, 0):
            return before
        self.count += 1
        if len(self._held) < MAX_HELD:
            self._held[mark] = number
            return 0
        part = mark % PARTS
        waiting = self._waiting[part]
        waiting += ENTRY.pack(mark, number)
        if len(waiting) >= FLUSH_BYTES:
            self._flush(part)
        return 0

    def _flush(self, part: int) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile(buffering=0) for _ in range(PARTS)]  # noqa: SIM115 (closed by `late`)
        self._files[part].write(self._waiting[part])
        self._waiting[part].clear()

    def late(self) -> Iterator[tuple[int, int]]:
        """Yield `(number, before)` of the lines whose id another one had used, as far as `add` did not know."""
        for part in range(PARTS):
            data = bytes(self._waiting[part])
            if self._files:
                file = self._files[part]
                file.seek(0)
                data = file.read() + data
                file.close()
            seen: dict[int, int] = {}
            for mark, number in ENTRY.iter_unpack(data):
                if mark in seen:
                    yield number, seen[mark]
                else:
                    seen[mark] = number
