"""Removes files of callers that are past their lifetime, and what an upload or a join that died has left in the store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from itertools import islice

from headrace.batches.ingest import UPLOAD
from headrace.errors import StorageError, Unknown
from headrace.ledger.batch_list import unknown_batches
from headrace.ledger.delete_file import delete_file
from headrace.ledger.file_record import FOLDER, content_of, expired_files, unknown_files
from headrace.logs import get_logger
from headrace.storage.file_store import FileStore
from headrace_worker.worker_process import WorkerProcess

EXPIRED_EVERY_S = 5.0
ABANDONED_EVERY_S = 600.0
ABANDONED_AFTER_S = 3600.0
"""Age of a content without a record that is taken for abandoned: longer than any move of the ledger is repeated."""
MAX_AT_ONCE = 200
MAX_ABANDONED = 100_000
"""Old entries of the folder that are looked at in one sweep."""

log = get_logger("headrace.worker.maintenance.file_sweeper")


class FileSweeper:
    """Sweeps now and then, some files at a time."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger
        self._next_expired = self._next_abandoned = 0.0

    async def hints(self) -> list[tuple[str, str]]:
        """Sweep, if it is time. There is nothing to publish."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_expired:
            self._next_expired = now + EXPIRED_EVERY_S
            await self.remove_expired()
        if now >= self._next_abandoned:
            self._next_abandoned = now + ABANDONED_EVERY_S
            await self.remove_abandoned()
        return []

    async def remove_expired(self) -> None:
        """Delete files that are past their lifetime: the record first, so that nobody sees one without its content."""
        for file_id in await expired_files(self._ledger, MAX_AT_ONCE):
            with contextlib.suppress(Unknown):
                await delete_file(self._ledger, file_id)
            await self._remove([content_of(file_id)])

    async def remove_abandoned(self, age_s: float = ABANDONED_AFTER_S) -> None:
        """Remove what was last written `age_s` seconds ago or earlier and belongs to nothing: temporary files whose writers are
        dead, contents without a file, and uploads that were linked for a batch that was never created."""
        try:
            store = await self._process.find_store()
        except StorageError:  # told where it is met first
            return
        found = await asyncio.to_thread(lambda: list(islice(store.abandoned(FOLDER, age_s), MAX_ABANDONED)))
        names = [name.rpartition("/")[2] for name in found]
        committed = [name for name in names if not name.startswith(".")]
        gone = [content_of(name) for name in names if name.startswith(".")]
        for first in range(0, len(committed), MAX_AT_ONCE):
            gone += map(content_of, await unknown_files(self._ledger, committed[first : first + MAX_AT_ONCE]))
        batches = await asyncio.to_thread(lambda: list(islice(linked_uploads(store, age_s), MAX_ABANDONED)))
        for first in range(0, len(batches), MAX_AT_ONCE):
            gone += await unknown_batches(self._ledger, batches[first : first + MAX_AT_ONCE])
        if gone:
            await self._remove(gone)
            log.info("abandoned files removed", count=len(gone))

    async def _remove(self, names: list[str]) -> None:
        with contextlib.suppress(StorageError):
            store = await self._process.find_store()
            await asyncio.to_thread(_remove_all, store, names)


def linked_uploads(store: FileStore, age_s: float) -> Iterator[str]:
    """Yield the folders of batches whose input was linked `age_s` seconds ago or earlier, and has not been checked since."""
    before = time.time() - age_s
    for folder in store.folders():
        if folder.startswith("batch_") and store.exists(f"{folder}/{UPLOAD}") and store.changed_s(folder) < before:
            yield folder


def _remove_all(store: FileStore, names: list[str]) -> None:
    for name in names:
        store.remove(name)
