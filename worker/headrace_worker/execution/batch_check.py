"""The check of an uploaded input: its lines become the items of the batch, or the batch ends with what is wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator

import msgspec

from headrace.batches.ingest import Committed, InputFiles, commit_input
from headrace.batches.request_lines import Rejected, RequestLines
from headrace.batches.template import Template
from headrace.chat.model_aliases import AliasModels
from headrace.chat.provider_table import split_model
from headrace.errors import Closed, ModelNotFound
from headrace.ledger.announce import Announcement, announcements
from headrace.ledger.batch_record import BatchRecord
from headrace.ledger.begin_batch import begin_batch
from headrace.ledger.reject_batch import reject_batch
from headrace.logs import get_logger
from headrace.storage.file_store import FileStore
from headrace.text.quoting import quoted
from headrace.waiting import retry_write
from headrace_worker.worker_process import WorkerProcess

MAX_REASON = 300
LINES_A_LOOK = 1000

log = get_logger("headrace.worker.execution.batch_check")


class Stopped(Exception):
    """The check is to be handed back."""


async def check_input(
    process: WorkerProcess, epoch: int, batch: BatchRecord, store: FileStore, is_stopped: Callable[[], bool]
) -> bool:
    """Check the lines of the batch's input and begin or reject it. False when `is_stopped`, or the process drains, before the
    end. Raises `StorageError`, or a `Refused` when another attempt was faster."""
    ledger = process.ledger
    template = await process.template(batch.template)
    workers = await retry_write(lambda: announcements(ledger))
    files = InputFiles.of(batch.id, epoch)

    def stops() -> bool:
        return is_stopped() or process.stopping.is_set()

    def check_models(*models: str) -> None:
        check_callable(workers, models)

    lines = RequestLines(
        template,
        endpoint=batch.endpoint,
        max_lines=process.settings.batch_lines,
        skip_bad=batch.skips_bad_rows,
        aliases=await asyncio.to_thread(read_aliases, store, batch.aliases),
        check_models=check_models,
    )
    try:
        committed = await asyncio.to_thread(_commit, store, batch, lines, files, stops)
    except Stopped:
        return False
    except Rejected as rejected:
        name = f"{batch.id}/rejection.{epoch}.json"
        body = msgspec.json.encode(rejected.listed())
        await asyncio.to_thread(store.commit_once, name, [body])
        reason = rejected.reason[:MAX_REASON]
        await retry_write(lambda: reject_batch(ledger, batch.id, epoch, rejection=name, reason=reason))
        log.info("batch rejected", batch=batch.id, lines=rejected.count)
        await asyncio.to_thread(store.remove, batch.upload)
        return True
    record = {
        "total": committed.total,
        "shards": committed.shards,
        "input": files.lines,
        "index": files.ranges,
        "model": model_of(template, lines.models),
    }
    with contextlib.suppress(Closed):  # cancelled meanwhile: nothing of it runs
        await retry_write(lambda: begin_batch(ledger, batch.id, epoch, record=record))
    await asyncio.to_thread(store.remove, batch.upload)
    await asyncio.to_thread(remove_other_attempts, store, batch.id, files)
    return True


def remove_other_attempts(store: FileStore, batch_id: str, files: InputFiles) -> None:
    """Remove what attempts at the check have left that died before their end."""
    for name in store.abandoned(batch_id, 0):
        if name.rpartition("/")[2].startswith((".input.", ".index.", "input.", "index.")) and name not in files:
            store.remove(name)


def model_of(template: Template, models: set[str]) -> str:
    """Return the model of a batch, by the name that its lines have; empty when they have several."""
    return template.model or (next(iter(models)) if len(models) == 1 else "")


def read_aliases(store: FileStore, name: str) -> dict[str, AliasModels]:
    """Return the aliases of whoever created the batch."""
    return msgspec.json.decode(store.read(name), type=dict[str, AliasModels]) if name else {}


def check_callable(workers: list[Announcement], models: tuple[str, ...]) -> None:
    """Raise `ModelNotFound` when no worker can call the provider of any of `models`."""
    usable = {provider for each in workers for provider in each.usable}
    for model in models:
        provider, _ = split_model(model)
        if provider in usable or not workers:
            return
    split_model(models[0], usable | {name for each in workers for name in each.lacking})
    raise ModelNotFound(f"model {quoted(models[0])}: no worker that is up can call its provider")


def _commit(
    store: FileStore, batch: BatchRecord, lines: RequestLines, files: InputFiles, stops: Callable[[], bool]
) -> Committed:
    def looked_at() -> Iterator[bytes]:
        for number, line in enumerate(store.lines(batch.upload)):
            if number % LINES_A_LOOK == 0 and stops():
                raise Stopped
            yield line if number else line.removeprefix(BOM_UTF8)

    return commit_input(store, batch.id, lines.items(looked_at()), files=files)
