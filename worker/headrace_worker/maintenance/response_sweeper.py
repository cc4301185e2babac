"""Remove stored responses that are past their lifetime, a folder at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from headrace.logs import get_logger
from headrace.storage.response_store import folders, sweep
from headrace_worker.worker_process import WorkerProcess

FOLDER_S = 1.0
"""Seconds between two folders: each has a thousandth of the responses."""
PAUSE_S = 60.0
"""Seconds after the last folder before it begins with the first."""

log = get_logger("headrace.worker.maintenance.response_sweeper")


class ResponseSweeper:
    """Goes through the folders, round and round."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ahead: Iterator[tuple[str, float]] = iter(())
        self._next_s = 0.0

    async def hints(self, now: float) -> list[tuple[str, str]]:
        """Sweep the next folder, if it is time. There is nothing to publish."""
        if now >= self._next_s:
            await self._sweep(now)
        return []

    async def _sweep(self, now: float) -> None:
        self._next_s = now + FOLDER_S
        following = await asyncio.to_thread(next, self._ahead, None)
        if following is None:
            self._next_s = now + min(PAUSE_S, self._process.settings.response_ttl_s)
            self._ahead = folders(await self._process.find_store())
            return
        folder, lifetime_s = following
        lifetime_s = lifetime_s or self._process.settings.response_ttl_s
        removed = await asyncio.to_thread(sweep, await self._process.find_store(), folder, lifetime_s)
        if removed:
            log.info("responses removed: their lifetime is over", folder=folder.rpartition("/")[2], files=removed)
