"""Publish the hints that are due: of parked records whose time has come, and of lost hints; end jobs past their deadline."""

from __future__ import annotations

import contextlib

from headrace.errors import Refused
from headrace.ledger.due import EXPIRED, due
from headrace.ledger.expire import expire
from headrace_worker.worker_process import WorkerProcess


class DuePublisher:
    """Finds the hints that are due."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger

    async def hints(self) -> list[tuple[str, str]]:
        """Return the `(queue, record id)` pairs to publish."""
        damage = self._process.damage
        found = await damage.guarded("due", due(self._ledger, on_damage=damage.on_damage))
        return [hint for hint in found if not await self._expired(*hint)]

    async def _expired(self, queue: str, record_id: str) -> bool:
        """End the job if it is past its deadline, unless an attempt has just begun. Return True if it was past it."""
        if queue != EXPIRED:
            return False
        with contextlib.suppress(Refused):
            await expire(self._ledger, record_id)
        return True
