"""Standard input and pipes as a file that can be read twice. They may have no end: what is copied has one."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from headrace.batches.inputs.compression import GZIP, ZSTD
from headrace.batches.inputs.input_files import ARROW, ARROW_STREAM, PARQUET
from headrace.batches.inputs.sources import LINE_BYTES
from headrace.batches.inputs.tables import UTF16
from headrace.errors import InputError

CHUNK = 1 << 20
NO_LINES = (GZIP, ZSTD, PARQUET, ARROW, ARROW_STREAM)
"""Beginnings of formats that have no lines to count."""
MIN_FREE = 512 << 20
"""Bytes that are left free on the disk of the copy."""


@contextmanager
def readable(given: str, *, limit: int | None = None, encoding: str | None = None) -> Iterator[str | Path]:
    """Yield the input as a path that can be read twice: standard input (`-`) and pipes are copied into a file first, of
    JSON lines no more than `limit` asks for."""
    path = Path(given)
    if not given:
        raise InputError("INPUT is empty: name a file; the current folder is `.`")
    try:
        is_stream = given == "-" or path.is_fifo()
    except (OSError, ValueError) as error:  # longer than any name
        raise InputError(f"{given}: {getattr(error, 'strerror', None) or error}") from None
    if not is_stream:
        yield given
        return
    shown = "standard input" if given == "-" else given
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / ("standard-input.jsonl" if given == "-" else path.name)
        is_lines = copy.suffix.lower() not in (".csv", ".tsv")
        try:
            with copy.open("wb") as file, nullcontext(sys.stdin.buffer) if given == "-" else path.open("rb") as source:
                copied(source, file, shown, limit if is_lines and encoding is None else None)
        except OSError as error:
            raise InputError(f"{shown}: {error.strerror}") from None
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), shown)) from None


def copied(source: BinaryIO, file: BinaryIO, name: str, limit: int | None) -> None:
    """Copy `source` to its end, or to the line that `limit` ends at. Raises `InputError` when the disk has no room for more."""
    size, lines, first = 0, 0, True
    while True:
        data = source.read(CHUNK) if limit is None else source.readline(LINE_BYTES + 1)
        if not data:
            return
        if first and data[:2] in UTF16:
            limit = None  # its line feeds are no bytes of their own
        if first and data.startswith(NO_LINES):
            limit = None
        first = False
        file.write(data)
        if size // CHUNK != (size + len(data)) // CHUNK and shutil.disk_usage(tempfile.gettempdir()).free < MIN_FREE:
            raise InputError(
                f"{name}: has no end after {size >> 20} MiB, and {tempfile.gettempdir()} has no room for more. Take the first "
                "items with --limit N, or write it to a file and name that"
            )
        size += len(data)
        lines += bool(data.strip())
        if limit is not None and lines >= limit:
            return
