"""When to ask again, and after how long."""

from __future__ import annotations

import random

ATTEMPTS = 5
FIRST_S = 0.5
LONGEST_S = 8.0


def backoff_s(attempt: int) -> float:
    """Full jitter: anything up to 0.5 s doubled with each attempt, 8 s at most."""
    return random.uniform(0, min(FIRST_S * 2 ** (attempt - 1), LONGEST_S))
