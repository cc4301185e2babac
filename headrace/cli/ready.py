"""`--ready-file`: where a process says that it is up. One from before is taken away; any other file is somebody's."""

from __future__ import annotations

import json
from pathlib import Path

from headrace.errors import InputError
from headrace.text.quoting import shortened

MAX_BYTES = 1 << 20


def checked_ready_file(path: Path) -> None:
    """Raise `InputError` when there is something at `path` that no process of ours has written."""
    shown = f"--ready-file {shortened(str(path))}"
    try:
        if path.is_file():
            with path.open("rb") as file:
                data = file.read(MAX_BYTES)
            ready = json.loads(data) if data else {"pid": 0}
            written = isinstance(ready, dict) and bool(ready.keys() & {"pid", "url"})
        else:
            written = not path.exists() and not path.is_symlink()
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError):
        written = False
    if not written:
        raise InputError(f"{shown}: is there, and is no ready file; give another name, or remove it")


def clear_ready_file(path: Path) -> None:
    """Remove the ready file from before: it would name a process that is no longer ours. Raises `InputError`."""
    checked_ready_file(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"--ready-file {shortened(str(path))}: {error.strerror}") from None
