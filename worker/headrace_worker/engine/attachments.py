"""The files that a batch's items refer to, put into the request of each call: they are in memory as long as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import msgspec

from headrace.batches.media.references import hashes, with_files
from headrace.batches.template import Item
from headrace.errors import CallError, StorageError
from headrace.jobs.job import Job
from headrace.storage.blobs import blob_of
from headrace.storage.file_store import FileStore

ATTACH: ContextVar[Callable[[Job], Awaitable[Job]] | None] = ContextVar("attach", default=None)
"""Puts the files of the item that runs here into its job; None where it has none. It is looked at when a call has its turn."""


def attach_files_of(item: Item, store: FileStore, batch_id: str) -> None:
    """Have the calls of this task send the files of `item`."""
    wanted = hashes(item.media or ())
    if not wanted:
        ATTACH.set(None)
        return

    def attached(job: Job) -> Job:
        try:
            files = {sha: store.read(blob_of(batch_id, sha)) for sha in wanted}
        except StorageError as error:
            raise CallError("storage", f"a file of the item cannot be read: {error}") from None
        return msgspec.structs.replace(job, messages=with_files(job.messages, files))

    async def attach(job: Job) -> Job:
        return await asyncio.to_thread(attached, job)

    ATTACH.set(attach)
