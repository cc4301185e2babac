"""Open a batch: its input is committed in the file store before the ledger has a record of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from headrace.batches.ingest import Committed, commit_input
from headrace.batches.media.references import Blob
from headrace.batches.outputs.output_lines import outcome_of
from headrace.batches.outputs.results import closed_lines, merge, row_of
from headrace.batches.prefill import FAILURES, SUCCESSES, checked_codes, choose, index_prefill
from headrace.batches.revalidation import template_named
from headrace.batches.template import Item, Template
from headrace.batches.type_refusals import TypeRefusals, type_refusals
from headrace.chat.feedback import feedback
from headrace.errors import Busy, Conflict, Finished, InputError, StorageError, Unreachable
from headrace.instruments.trace_context import current_traceparent
from headrace.jobs.job import new_id
from headrace.ledger.batch_record import BatchRecord, known_batch, template_body
from headrace.ledger.creation import Creation
from headrace.ledger.open import open_batch
from headrace.ledger.queues import BULK
from headrace.ledger.script import UNAVAILABLE, Argument, Ledger
from headrace.ledger.state import BATCH_TERMINAL, BatchState
from headrace.schema.python_types import AnswerType
from headrace.storage.blobs import link_blobs
from headrace.storage.file_store import FileStore

WINDOW_S = 24 * 3600.0


async def open_new(
    ledger: Ledger,
    store: FileStore,
    template: Template,
    items: Iterator[Item | Blob],
    *,
    tenant: str,
    window_s: float = WINDOW_S,
    progress: Callable[[int], None] | None = None,
    batch_id: str | None = None,
    work: str = "",
    joins: bool = False,
    check_models: Callable[..., Awaitable[None]] | None = None,
) -> str:
    """Commit `items` and open the batch; returns its id, a fresh one unless `batch_id` is given, or that of one that it joins.

    `work` and `joins` are those of `open_batch`; `check_models` raises `ModelNotFound` where no worker can call any of its
    arguments. Raises what `items` raises; then nothing is enqueued.
    """
    batch_id = batch_id or new_id("batch")
    try:
        committed = await asyncio.to_thread(commit_input, store, batch_id, items, progress)
        if check_models is not None:
            for models in committed.models:
                await check_models(*models)
    except BaseException:
        await discard(store, batch_id)
        raise
    known = await _open(ledger, batch_id, template, committed, tenant, window_s, work=work, joins=joins)
    if known != batch_id:
        await discard(store, batch_id)
    return known


async def discard(store: FileStore, folder: str) -> None:
    """Remove what was committed for a batch that is not opened. Where the store is away just now, it stays for the sweep."""
    with suppress(StorageError):
        await asyncio.to_thread(store.remove, folder)


async def open_retry(
    ledger: Ledger,
    store: FileStore,
    batch_id: str,
    *,
    tenant: str,
    codes: Collection[str] | None = None,
    creation: Creation | None = None,
    own_id: str | None = None,
) -> str:
    """Open a new batch, `own_id`, that keeps what succeeded in a closed one and pays only for the rest, or of the rest only for
    what failed with one of `codes`. Returns its id, or that of the batch that an equal request before has opened. Raises
    `InputError` for a code that is none, and when nothing would run."""
    chosen = None if codes is None else checked_codes(codes)
    old = await known_batch(ledger, batch_id)
    if old.state not in BATCH_TERMINAL:
        raise InputError(f"{batch_id} is {old.state}; a batch is retried after it has ended")
    if not old.has_begun:
        raise InputError(
            f"{batch_id}: nothing of it has run ({old.reason}); create a batch over an input that is mended"
        )
    body = await template_body(ledger, old.template)
    if body is None:
        raise InputError(f"{batch_id}: its template is past its retention; extract the input anew")
    template, refused = template_named(body, old.template, batch_id), await type_refusals(ledger, batch_id)
    if chosen is not None:
        await asyncio.to_thread(lambda: choose(closed_lines(store, old, refused, "errors"), chosen, batch_id))
    new = own_id or new_id("batch")
    try:
        await asyncio.to_thread(store.link, old.input, f"{new}/input.jsonl")
        await asyncio.to_thread(store.link, old.index, f"{new}/index")
        await asyncio.to_thread(link_blobs, store, batch_id, new)
        await asyncio.to_thread(take_over, store, old, refused, new, failures=chosen is not None)
        await asyncio.to_thread(index_prefill, store, new, chosen)
    except BaseException:
        await discard(store, new)
        raise
    committed = Committed(old.total, old.shards)
    extra = {"prefill": f"{new}/{SUCCESSES}", "retry_of": batch_id, "model": old.model, **old.carried}
    extra |= left_of_budget(old)
    try:
        known = await _open(ledger, new, template, committed, tenant, WINDOW_S, extra, creation=creation, work=old.work)
    except (Conflict, Busy):
        await discard(store, new)
        raise
    if known != new:
        await discard(store, new)
    return known


async def open_reask(
    ledger: Ledger, store: FileStore, batch_id: str, answers: AnswerType[Any] | None, *, tenant: str
) -> tuple[str, int] | None:
    """Open the batch that asks again for what the caller's type refused of a completed one, as far as its `reasks` go: each
    of these items with its answer and what was wrong with it (without `answers` in the words in which it was refused); all
    other rows it takes over. Returns its id and how many items it asks for (0: another client had opened it). None when there
    is nothing to ask for.
    """
    old = await known_batch(ledger, batch_id)
    if old.reasked_as:
        return old.reasked_as, 0
    body = await template_body(ledger, old.template)
    if body is None or old.state != BatchState.COMPLETED or not old.refused:
        return None
    template, refused = template_named(body, old.template, batch_id), await type_refusals(ledger, batch_id)
    again = await asyncio.to_thread(lines_to_ask, store, old, template, refused)
    if not again:
        return None
    new = new_id("batch")
    try:
        items = refused_items(store, old, template, refused, answers, again)
        committed = await asyncio.to_thread(commit_input, store, new, items)
        await asyncio.to_thread(link_blobs, store, batch_id, new)
        await asyncio.to_thread(take_over, store, old, refused, new, failures=True)
        await asyncio.to_thread(index_prefill, store, new, frozenset(), again)
    except BaseException:
        await discard(store, new)
        raise
    extra = {"prefill": f"{new}/{SUCCESSES}", "reask_of": batch_id, **left_of_budget(old)}
    try:
        await _open(ledger, new, template, committed, tenant, WINDOW_S, extra, follows=batch_id)
    except Finished as other:
        await discard(store, new)
        return other.detail, 0
    return new, len(again)


def lines_to_ask(store: FileStore, batch: BatchRecord, template: Template, refused: TypeRefusals) -> set[int]:
    """Return the lines of a closed batch that were refused and may be asked for again."""
    lines = set[int]()
    for line, row in enumerate(merge(store, batch.input, batch.output, batch.errors)):
        if line in refused:
            _, completion, _ = outcome_of(row, structured=True)
            if completion is not None and completion.reasks < template.reasks:
                lines.add(line)
    return lines


def refused_items(
    store: FileStore,
    batch: BatchRecord,
    template: Template,
    refused: TypeRefusals,
    answers: AnswerType[Any] | None,
    again: set[int],
) -> Iterator[Item]:
    """Yield the items of a closed batch, those of the lines in `again` with the conversation that asks for them again."""
    rows = merge(store, batch.input, batch.output, batch.errors)
    for line, (raw, row) in enumerate(zip(store.lines(batch.input), rows, strict=True)):
        item = msgspec.json.decode(raw, type=Item)
        if line in again and (completion := outcome_of(row, structured=True)[1]) is not None:
            error = None if answers is None else row_of(row, answers, structured=True).error
            why = error.message if error is not None else refused.reason(line)
            item = msgspec.structs.replace(
                item,
                messages=[*template.messages(item), *feedback(completion.content, [why])],
                reasks=completion.reasks + 1,
                usage=completion.usage,
                cost=completion.cost,
            )
        yield item


def take_over(store: FileStore, old: BatchRecord, refused: TypeRefusals, new: str, *, failures: bool) -> None:
    """Put the lines that a closed batch keeps into the folder of its successor: successes, and with `failures` its error
    lines. Files are hard-linked where no line was refused."""
    for which, name in (("output", SUCCESSES), ("errors", FAILURES))[: 1 + failures]:
        if refused:
            store.commit(f"{new}/{name}", closed_lines(store, old, refused, which))
        else:
            store.link(old.output if which == "output" else old.errors, f"{new}/{name}")


def budget_fields(template: Template) -> dict[str, Argument]:
    """Return the fields of a batch's record that say what it may cost."""
    if not template.budget:
        return {}
    return {"budget_nano_usd": template.budget, "unpriced_allowed": int(template.unpriced)}


def left_of_budget(old: BatchRecord) -> dict[str, Argument]:
    """Return the fields for a batch that goes on with an earlier one's work: it may cost what that one has left."""
    if old.budget is None:
        return {}
    return {"budget_nano_usd": max(0, old.budget - old.spent), "unpriced_allowed": int(old.allows_unpriced)}


async def _open(
    ledger: Ledger,
    batch_id: str,
    template: Template,
    committed: Committed,
    tenant: str,
    window_s: float,
    extra: Mapping[str, Argument] | None = None,
    follows: str | None = None,
    creation: Creation | None = None,
    work: str = "",
    joins: bool = False,
) -> str:
    sha, body = template.encoded()
    record = {
        "tenant": tenant,
        "queue": BULK,
        "model": template.model,
        "structured": int(template.schema is not None),
        "template": sha,
        "total": committed.total,
        "shards": committed.shards,
        "input": f"{batch_id}/input.jsonl",
        "index": f"{batch_id}/index",
        **({"work": work} if work else {}),
        **({"trace": trace} if (trace := current_traceparent()) else {}),
        "weight": template.weight,
        **budget_fields(template),
        **(extra or {}),
    }
    try:
        return await open_batch(
            ledger,
            batch_id,
            template_sha=sha,
            template=body,
            window_ms=int(window_s * 1000),
            tenant=tenant,
            record=record,
            follows=follows,
            creation=creation,
            work=work,
            joins=joins,
        )
    except UNAVAILABLE as error:
        # The input stays: the ledger may have the batch, only its answer was lost.
        raise Unreachable(
            f"Redis went away ({type(error).__name__}) while {batch_id} was opened. Whether it runs, "
            f"`headrace batches show {batch_id}` tells when Redis is back."
        ) from error
