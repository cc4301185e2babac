"""A hook for workers: a clock that has jumped by `TEST_CLOCK_SHIFT_S` seconds."""

from __future__ import annotations

import os
import time
from typing import Any


def install(_: Any) -> None:
    shift_s, now = float(os.environ["TEST_CLOCK_SHIFT_S"]), time.time
    time.time = lambda: now() + shift_s
