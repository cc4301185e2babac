"""Removes the files of batches that are past their retention, and the blobs to which no batch refers any more."""

from __future__ import annotations

import asyncio

from headrace.batches.retention import past_retention, prune, prune_blobs
from headrace.errors import StorageError
from headrace.logs import get_logger
from headrace_worker.worker_process import WorkerProcess

EVERY_S = 600.0
MAX_AT_ONCE = 200

log = get_logger("headrace.worker.maintenance.retention_sweeper")


class RetentionSweeper:
    """Sweeps now and then, some batches at a time."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._next_s = 0.0

    async def hints(self, now: float) -> list[tuple[str, str]]:
        """Sweep, if it is time. There is nothing to publish."""
        if now >= self._next_s:
            self._next_s = now + EVERY_S
            await self.sweep()
        return []

    async def sweep(self) -> None:
        try:
            store = await self._process.find_store()
        except StorageError:  # told where it is met first
            return
        ledger, keep_s = self._process.ledger, self._process.settings.retention_s
        found = await past_retention(ledger, store, keep_s, MAX_AT_ONCE)
        removed = await prune(ledger, store, [each.name for each in found], keep_s)
        if removed:
            log.info("files of batches removed: their retention is over", count=removed)
        if len(found) == MAX_AT_ONCE:
            self._next_s = 0.0
        if (blobs := await asyncio.to_thread(prune_blobs, store)) is not None:
            log.info("files that no batch refers to removed", count=blobs.files, bytes=blobs.bytes)
