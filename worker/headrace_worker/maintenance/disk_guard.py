"""Pause a batch while the disk is nearly full, and resume it when there is space again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from headrace.errors import StorageError
from headrace.ledger.pause import pause
from headrace.ledger.resume import resume
from headrace.ledger.state import BatchState
from headrace.logs import get_logger
from headrace_worker.worker_process import WorkerProcess

NO_ROOM = "storage: "
"""Prefix of the reason of such a pause."""

log = get_logger("headrace.worker.maintenance.disk_guard")


class DiskGuard:
    """Checks the free space of the file store before a batch is fed."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger

    async def look(self, batch_id: str, state: str, reason: str) -> None:
        """Pause or resume the batch by the free space."""
        if state not in {BatchState.IN_PROGRESS, BatchState.PAUSED}:
            return
        store = await self._process.find_store()
        free_mb, least_mb = store.free_mb(), self._process.settings.min_free_mb
        if state == BatchState.IN_PROGRESS and free_mb < least_mb:
            log.warning("batch paused: the disk is nearly full", batch=batch_id, free_mb=free_mb)
            await pause(
                self._ledger, batch_id, reason=f"{NO_ROOM}{free_mb} MiB free, {least_mb} needed; it goes on by itself"
            )
        elif (
            state == BatchState.PAUSED
            and reason.startswith(NO_ROOM)
            and free_mb >= least_mb
            and await self._can_write(batch_id)
        ):
            log.info("batch goes on: there is room again", batch=batch_id)
            await resume(self._ledger, batch_id)

    async def _can_write(self, batch_id: str) -> bool:
        store = await self._process.find_store()
        name = f"{batch_id}/room.{self._process.name}"
        try:
            await asyncio.to_thread(store.commit, name, [b"\0" * 65536])
        except StorageError:
            return False
        except FileExistsError:  # of a look that was cut
            pass
        with suppress(StorageError):
            await asyncio.to_thread(store.remove, name)
        return True
