"""Publishes again what is due: parked records whose time has come, and hints that got lost; ends jobs past their deadline."""

from __future__ import annotations

import contextlib

from headrace.errors import Refused
from headrace.ledger.due import EXPIRED, due
from headrace.ledger.expire import expire
from headrace_worker.service import Process


class DuePublisher:
    """Finds the hints of what is due."""

    def __init__(self, process: Process):
        self._process = process
        self._ledger = process.ledger

    async def hints(self) -> list[tuple[str, str]]:
        """Return queues and records that wait to be published."""
        damage = self._process.damage
        found = await damage.guarded("due", due(self._ledger, on_damage=damage.on_damage))
        return [hint for hint in found if not await self._expired(*hint)]

    async def _expired(self, queue: str, record_id: str) -> bool:
        """Return True if it is a job past its deadline; then it is ended, unless somebody has just begun it."""
        if queue != EXPIRED:
            return False
        with contextlib.suppress(Refused):
            await expire(self._ledger, record_id)
        return True
