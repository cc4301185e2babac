"""Processes of headrace with a module of the tests' in their way: see `hooks/sitecustomize.py`."""

from __future__ import annotations

import os
from pathlib import Path

SUPPORT = Path(__file__).parent


def hooked(module: str) -> dict[str, str]:
    """The environment of a process that imports `module`, one of `hooks` or of this folder."""
    return {"PYTHON_TEST_HOOK": module, "PYTHONPATH": os.pathsep.join((str(SUPPORT / "hooks"), str(SUPPORT)))}
