"""The progress of a shard, for whoever watches Celery's events (Flower): numbers only, at most once a second for each task."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

EVERY_S = 1.0
EVENT = "task-progress"

Numbers = dict[str, int]


class Reporter:
    """Reports for the task with Celery's `uuid`; `send(uuid, numbers)` may be called from the loop."""

    def __init__(self, uuid: str, send: Callable[[str, Numbers], None]):
        self._uuid = uuid
        self._send = send
        self._last = float("-inf")

    def report(self, numbers: Numbers) -> None:
        now = time.monotonic()
        if now - self._last >= EVERY_S:
            self._last = now
            self._send(self._uuid, numbers)


# Set by the pool for each task; the tasks that a task starts inherit it.
CURRENT: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def report_progress(**numbers: int) -> None:
    """Report how far the running task is; nothing happens outside of a task, or within a second of the last report."""
    reporter = CURRENT.get()
    if reporter is not None:
        reporter.report(numbers)
