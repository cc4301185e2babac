"""How much is measured: `BENCH_SCALE=0.05` takes a twentieth of the items, to see that all works; its figures are worth
nothing, and are not written."""

from __future__ import annotations

import os
import sys
import time

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
_began = time.monotonic()


def scaled(count: int, *, least: int = 1) -> int:
    """Return `count` at the scale of this run."""
    return max(round(count * SCALE), least)


def progress(line: str) -> None:
    """Tell on standard error where the run is, with the time since its start."""
    minutes, seconds = divmod(int(time.monotonic() - _began), 60)
    print(f"{minutes:2}:{seconds:02}  {line}", file=sys.stderr, flush=True)
