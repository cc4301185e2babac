"""A hook for workers: while the flag file is there, nothing can be written into the file store."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO

import headrace_worker.execution.batch_join

import headrace.storage.local


def install(_: Any) -> None:
    flag = Path(os.environ["FULL_DISK"])
    write_all = headrace.storage.local.write_all

    def full(file: BinaryIO, data: bytes) -> None:
        if flag.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(file, data)

    headrace.storage.local.write_all = full
    headrace_worker.execution.batch_join.write_all = full
