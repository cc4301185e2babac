"""The ids that an input has used, in bounded memory: from some ten thousand on they lie in a file, and a filter in memory says of
nearly every new one that it is not among them."""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from itertools import combinations
from typing import IO
from weakref import finalize

MAX_HELD = 50_000
PARTS = 4096
BLOCK_BYTES = 1024
ENTRY = struct.Struct("<qQ")
MARK = struct.Struct("<q")
FILTER_BYTES = 1 << 24
"""Each id sets three bits of one byte: one look at memory. Of ten million new ids one in a hundred is looked up in vain, of a
million one in a thousand."""
PATTERNS = tuple(1 << a | 1 << b | 1 << c for a, b, c in combinations(range(8), 3))


class SeenIds:
    """A set of ids, by their hash of 64 bits, each with the number of its line."""

    def __init__(self) -> None:
        self.count = 0
        self._held: dict[int, int] = {}
        self._filter = bytearray()
        self._file: IO[bytes] | None = None
        self._written = 0
        self._waiting: list[bytearray] = []
        self._blocks: list[array[int]] = []

    def add(self, custom_id: str, number: int) -> int:
        """Note an id. Returns the line that has used it before; 0 where there is none."""
        mark = hash(custom_id)  # siphash, with a key of this process: nobody can prepare two ids that meet
        if before := self._held.get(mark, 0):
            return before
        if len(self._held) < MAX_HELD:
            self._held[mark] = number
        elif before := self._add_to_file(mark, number):
            return before
        self.count += 1
        return 0

    def _add_to_file(self, mark: int, number: int) -> int:
        bits = self._filter
        if not bits:
            bits = self._filter = bytearray(FILTER_BYTES)
            self._waiting = [bytearray() for _ in range(PARTS)]
            self._blocks = [array("I") for _ in range(PARTS)]
        at, pattern, part = mark % FILTER_BYTES, PATTERNS[(mark >> 32) % len(PATTERNS)], mark % PARTS
        byte = bits[at]
        if byte & pattern == pattern and (before := self._looked_up(part, mark)):
            return before
        bits[at] = byte | pattern
        waiting = self._waiting[part]
        waiting += ENTRY.pack(mark, number)
        if len(waiting) >= BLOCK_BYTES:
            self._write(part)
        return 0

    def _looked_up(self, part: int, mark: int) -> int:
        """Return the line of an id that was put into a part; 0 where it is not there."""
        wanted = MARK.pack(mark)
        data = bytes(self._waiting[part])
        if self._file is not None:
            file = self._file.fileno()
            data += b"".join(os.pread(file, BLOCK_BYTES, block * BLOCK_BYTES) for block in self._blocks[part])
        at = data.find(wanted)
        while at >= 0:
            if at % ENTRY.size == 0:
                return ENTRY.unpack_from(data, at)[1]
            at = data.find(wanted, at + 1)
        return 0

    def _write(self, part: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with this object)
            finalize(self, self._file.close)
        self._file.write(self._waiting[part])
        self._blocks[part].append(self._written)
        self._written += 1
        self._waiting[part].clear()
