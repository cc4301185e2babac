"""Jobs whose answer a file has as well: what the ledger has of them goes after an hour. Many are told at once."""

from __future__ import annotations

import asyncio
import contextlib

from headrace.errors import HeadraceError
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.shorten import shorten_many

KEEP_MS = 3600_000
"""Milliseconds for which the ledger keeps what a file has as well: who follows the events reads them there."""
GROUP_S = 1.0
MAX_GROUP = 500


class ExpendableJobs:
    """Collects jobs, and tells the ledger of them a second later."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._jobs: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, job: str) -> None:
        """Let what the ledger has of `job` go earlier."""
        self._jobs.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Tell of what is left."""
        if self._task is not None:
            self._task.cancel()
        await self._told()

    async def _tell(self) -> None:
        while self._jobs:
            await asyncio.sleep(GROUP_S)
            await self._told()

    async def _told(self) -> None:
        while self._jobs:
            group, self._jobs = self._jobs[:MAX_GROUP], self._jobs[MAX_GROUP:]
            with contextlib.suppress(*UNAVAILABLE, HeadraceError):  # untold, it goes at the end of its own lifetime
                await shorten_many(self._ledger, group, ttl_ms=KEEP_MS)
