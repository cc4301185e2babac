"""A hook for workers: a job is forgotten as soon as its result is, so that a test can see that nothing of it stays."""

from __future__ import annotations

from typing import Any

import headrace.ledger.finish


def install(_: Any) -> None:
    headrace.ledger.finish.TOMBSTONE_MS = 1_000
