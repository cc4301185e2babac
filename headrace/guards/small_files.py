"""Files that are read whole: schemas, prompts, tools, tables of providers. None of them is large, or without an end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from headrace.errors import InputError

MAX_BYTES = 64 << 20


def read_whole(path: Path) -> bytes:
    """Return what is in a file. Raises `OSError`, and `InputError` naming it for a device, and for more than `MAX_BYTES`."""
    # A pipe is opened as it comes (`<(jq …)`), and waits for whoever writes into it.
    with path.open("rb") as file:
        if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and str(path) != os.devnull and not file.isatty():
            raise InputError(f"{path}: is a device, and may never end; name a file")
        return read_stream(file, str(path))


def read_stream(file: BinaryIO, name: str) -> bytes:
    """Return what comes from `file` until its end. Raises `InputError` for more than `MAX_BYTES`."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{name}: has more than {MAX_BYTES >> 20} MiB, the most that is read whole; give a smaller one"
        )
    return data
