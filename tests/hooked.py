"""Processes of headrace with a module of the tests' in their way: see `hooks/sitecustomize.py`."""

from __future__ import annotations

import os
from pathlib import Path

HOOKS = Path(__file__).parent / "hooks"


def hooked(module: str, folder: Path) -> dict[str, str]:
    """The environment of a process that imports `module`, which lies in `folder`."""
    return {"PYTHON_TEST_HOOK": module, "PYTHONPATH": os.pathsep.join((str(HOOKS), str(folder)))}
