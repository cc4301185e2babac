"""How long a deadline is on a machine that has more to run than it has cores."""

from __future__ import annotations

import os


def scaled_s(seconds: float) -> float:
    """`seconds` of a machine with a core for whoever wants to run; as many times longer as there are processes for one."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
