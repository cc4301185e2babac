"""The row of an item as its shard keeps it: a kind byte and the item's output line. The kind in capitals says that the
line lies in a file, and is followed by a pointer to it."""

from __future__ import annotations

from typing import NamedTuple

from headrace.batches.outputs.output_lines import KIND_OF_STATE, outcome_of
from headrace.errors import StorageError
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNREADABLE

KINDS = frozenset(KIND_OF_STATE.values())
MAX_DIGITS = 15
"""Of an offset or a length."""


class LinePointer(NamedTuple):
    """Where an output line lies: a file of the store, offset and length in bytes, without the line feed."""

    file: str
    offset: int
    length: int

    def encode(self) -> bytes:
        return f"{self.file} {self.offset} {self.length}".encode()

    @classmethod
    def decode(cls, encoded: bytes) -> LinePointer:
        """Return the pointer that `encode` wrote. Raises `StorageError` for what `encode` did not write."""
        file, *numbers = encoded.rsplit(b" ", 2)
        if len(numbers) != 2 or not all(number.isdigit() and len(number) <= MAX_DIGITS for number in numbers):
            raise StorageError("a pointer into a file of a batch cannot be read")
        if not encoded.isascii():
            raise StorageError("a pointer into a file of a batch has a name that is none of ours")
        return cls(file.decode(), int(numbers[0]), int(numbers[1]))

    def read(self, store: FileStore) -> bytes:
        return store.read(self.file, self.offset, self.length).rstrip(b"\n")


def kind_of(row: bytes) -> str | None:
    """Return the row's kind, in capitals where a pointer follows; None for a byte that is no kind."""
    kind = row[:1].decode(errors="replace")
    return kind if kind.lower() in KINDS else None


def line_of(row: bytes, store: FileStore) -> bytes:
    """Return the output line of a row, fetched from its file if it lies in one. Raises `StorageError`."""
    return LinePointer.decode(row[1:]).read(store) if row[:1].isupper() else row[1:]


def is_row(row: bytes) -> bool:
    """Return True if a row can be written into the output: a kind, and a line of that kind or a pointer to one."""
    kind = kind_of(row)
    if kind is None:
        return False
    try:
        if kind.isupper():
            LinePointer.decode(row[1:])
            return True
        _, completion, _ = outcome_of(row[1:], structured=False)
    except (StorageError, *UNREADABLE):
        return False
    return b"\n" not in row and (completion is not None) == (kind == "s")
