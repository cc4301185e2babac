"""The environment of other projects' Python clients (`make clients`), which are too many for this one."""

from __future__ import annotations

from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[1] / "contract/clients/.venv/bin/python"


def client_python() -> str:
    """Return its interpreter. Skips the test where it was not made."""
    if not (PYTHON.parents[1] / "ready").exists():
        pytest.skip("the Python clients are not installed: `make clients`")
    return str(PYTHON)
