"""Pictures that were made of files (smaller, of another type, of pages), kept on the disk while an input is read a second time:
to make one takes a hundred times as long as to read it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from weakref import finalize

from headrace.batches.media.image_scaling import Picture

MAX_BYTES = 4 << 30
MIN_FREE = 1 << 30
"""Bytes that are left free on the disk."""


class MadePictures:
    """A folder of pictures, gone with this object. What has no room in it is made again."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._bytes = 0

    def picture(self, data: bytes, how: str, make: Callable[[], Picture]) -> Picture:
        """Return what `make` makes of `data`, `how` it is told."""
        name = hashlib.blake2b(data, person=hashlib.blake2b(how.encode(), digest_size=16).digest()).hexdigest()
        path = None if self._folder is None else self._folder / name
        if path is not None and path.exists():
            media_type, _, made = path.read_bytes().partition(b"\n")
            return Picture(made, media_type.decode())
        picture = make()
        if picture.data != data:
            self._keep(name, picture)
        return picture

    def _keep(self, name: str, picture: Picture) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="headrace-pictures-"))
            finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        size = len(picture.data)
        try:
            if self._bytes + size <= MAX_BYTES and shutil.disk_usage(self._folder).free > size + MIN_FREE:
                (self._folder / name).write_bytes(f"{picture.media_type}\n".encode() + picture.data)
                self._bytes += size
        except OSError:  # a full disk: it is made again
            (self._folder / name).unlink(missing_ok=True)
