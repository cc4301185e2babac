"""Compressed texts (gzip, zstd), read as they are unpacked. What they may expand to is bounded."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from headrace.batches.arrow_library import arrow
from headrace.errors import InputError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
NAMES = {GZIP: "gzip", ZSTD: "zstd"}
SUFFIXES = (".gz", ".zst")
FREE_BYTES = 64 << 20
"""Bytes that any file may expand to."""
MAX_RATIO = 250
"""Multiple of its size that a file may expand to beyond that: tables and logs reach some tens, a bomb a thousand."""


class Expanded(io.RawIOBase):
    """A file of gzip or zstd, unpacked. It may be read again from the start. Raises `InputError` for one that is damaged, cut
    off, or expands beyond the bound."""

    def __init__(self, path: Path, file: BinaryIO, kind: bytes):
        self.name = str(path)
        self._path = path
        self._file = file
        self._kind = kind
        self._at = 0
        self._stream: Any = None
        self._begin()

    def _begin(self) -> None:
        self._at = 0
        self._file.close()
        self._file = self._path.open("rb")  # anew: Arrow's streams close the file that they read
        if self._kind == GZIP:
            self._stream = gzip.GzipFile(fileobj=self._file, mode="rb")
        else:
            pa = arrow(f"{self.name}: is compressed (zstd)")
            self._stream = pa.CompressedInputStream(pa.PythonFile(self._file, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of what is compressed is not known before it is read")
        if offset < self._at:
            self._begin()
        while self._at < offset and self._read(min(offset - self._at, 1 << 20)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno:
                raise InputError(f"{self.name}: {error.strerror}") from None
            raise InputError(
                f"{self.name}: is compressed ({NAMES[self._kind]}) and cannot be unpacked after {self._at} bytes: it is "
                f"damaged, or cut off ({error}). Copy or write it again"
            ) from None
        self._at += len(data)
        packed = self._file.tell()
        if self._at > FREE_BYTES and self._at > packed * MAX_RATIO:
            raise InputError(
                f"{self.name}: expands to more than {MAX_RATIO} times its size ({packed} bytes became {self._at}), as a zip bomb "
                "does. If it is meant, unpack it and give the unpacked file"
            )
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def expanded(path: Path, file: BinaryIO) -> BinaryIO:
    """Return `file`, or what it is unpacked to where it is compressed: by its first bytes, whatever its name."""
    if not isinstance(file, io.BufferedReader):
        return file
    begin = file.peek(4)[:4]
    for kind in (GZIP, ZSTD):
        if begin.startswith(kind) and file.seekable():
            return io.BufferedReader(Expanded(path, file, kind), 256 * 1024)
    return file


def is_expanded(file: BinaryIO) -> bool:
    """Return True for a file of `expanded` that is unpacked."""
    return isinstance(file, io.BufferedReader) and isinstance(file.raw, Expanded)


def bare(path: Path) -> Path:
    """Return `path` without `.gz` or `.zst` at its end."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
