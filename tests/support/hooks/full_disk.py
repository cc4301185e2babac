"""A hook for workers: while the flag file is there, nothing can be written into the file store."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

from headrace.storage.local import LocalFileStore


class FullDiskFile(io.BufferedWriter):
    """A new file of the store, on a disk that is full while the flag is there."""

    def write(self, data: Any) -> int:
        if Path(os.environ["FULL_DISK"]).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def install(_: Any) -> None:
    open_new = LocalFileStore._open_new
    LocalFileStore._open_new = lambda store, path: FullDiskFile(open_new(store, path).detach())
