"""The input's columns in the rows of a batch: they lie in its input, line by line, and join an output line when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headrace.storage.file_store import FileStore
from headrace.text import digits

MARK = b',"kept":{'
REFUSED = b'"refused":'


class _KeptPart(msgspec.Struct):
    kept: msgspec.Raw = msgspec.Raw()
    refused: str | None = None


_decode = msgspec.json.Decoder(_KeptPart).decode


def keeps_columns(store: FileStore, source: str) -> bool:
    """Return True if the rows of the batch with the input `source` keep columns of it: then every item has them, but for lines
    that were no items."""
    for line in store.lines(source):
        if kept_part(line) is not None:
            return True
        if not (REFUSED in line and _decode(line).refused):
            return False
    return False


def kept_part(line: bytes) -> msgspec.Raw | None:
    """Return what a line of the input, or of the output, has of the columns that are kept, as JSON."""
    return (_decode(line).kept or None) if MARK in line else None


def kept_values(line: bytes) -> dict[str, Any]:
    """Return the kept columns of an output line; numbers that have a point as `Raw`."""
    part = kept_part(line)
    return {} if part is None else digits.decode(part)


def with_kept(line: bytes, item: bytes) -> bytes:
    """Return an output line, without a line feed, with the columns that the line `item` of the input keeps."""
    part = kept_part(item)
    return line if part is None else b"%b%b%b}" % (line[:-1], MARK[:-1], bytes(part))


def lines_with_kept(lines: Iterable[bytes], items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield output lines, each with the kept columns of its item."""
    return (with_kept(line, item) for line, item in zip(lines, items, strict=True))
