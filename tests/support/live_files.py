"""The files of a store that a running service may be deleting from meanwhile."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """All files below `folder`. One that is deleted, or a folder that is, during the walk is left out (`Path.rglob` of
    Python 3.11 raises FileNotFoundError then)."""
    return [path for at, _, names in os.walk(folder) for name in names if (path := Path(at, name)).is_file()]
