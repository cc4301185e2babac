"""The ids that an input has used, in bounded memory: from some ten thousand on they lie in a file. It is searched at the end of
the input, or at once: then a filter in memory says of nearly every new id that it is not there."""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from collections.abc import Iterator
from itertools import combinations
from typing import IO
from weakref import finalize

MAX_HELD = 50_000
PARTS, PARTS_TO_SEARCH = 64, 4096
"""Parts of the file: many small ones where they are searched while others are added."""
BLOCK_BYTES = 1024
ENTRY = struct.Struct("<qQ")
MARK = struct.Struct("<q")
FILTER_BYTES = 1 << 24
"""Each id sets three bits of one byte: one look at memory. Of ten million new ids one in a hundred is looked up in vain, of a
million one in a thousand."""
PATTERNS = tuple(1 << a | 1 << b | 1 << c for a, b, c in combinations(range(8), 3))


class SeenIds:
    """A set of ids, by their hash of 64 bits, each with the number of its line. An id that is used twice is told `at_once`, or,
    which takes half the time, of those beyond the first ten thousands by `late`."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.count = 0
        self._at_once = at_once
        self._parts = PARTS_TO_SEARCH if at_once else PARTS
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
        if not self._waiting:
            self._waiting = [bytearray() for _ in range(self._parts)]
            self._blocks = [array("I") for _ in range(self._parts)]
        part = mark % self._parts
        if self._at_once:
            bits = self._filter = self._filter or bytearray(FILTER_BYTES)
            at, pattern = mark % FILTER_BYTES, PATTERNS[(mark >> 32) % len(PATTERNS)]
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
        wanted, data = MARK.pack(mark), self._read(part)
        at = data.find(wanted)
        while at >= 0:
            if at % ENTRY.size == 0:
                return ENTRY.unpack_from(data, at)[1]
            at = data.find(wanted, at + 1)
        return 0

    def late(self) -> Iterator[tuple[int, int]]:
        """Yield `(number, before)` of the lines whose id another one had used, as far as `add` did not know."""
        for part in range(0 if self._at_once else len(self._waiting)):
            seen: dict[int, int] = {}
            for mark, number in ENTRY.iter_unpack(self._read(part)):
                if (before := seen.setdefault(mark, number)) != number:
                    yield number, before

    def _read(self, part: int) -> bytes:
        """Return the entries of a part, in their order."""
        if self._file is None:
            return bytes(self._waiting[part])
        file = self._file.fileno()
        written = (os.pread(file, BLOCK_BYTES, block * BLOCK_BYTES) for block in self._blocks[part])
        return b"".join(written) + self._waiting[part]

    def _write(self, part: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with this object)
            finalize(self, self._file.close)
        self._file.write(self._waiting[part])
        self._blocks[part].append(self._written)
        self._written += 1
        self._waiting[part].clear()
