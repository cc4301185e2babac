"""A batch is opened: its input lies committed in the file store before the ledger hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

import msgspec

from headrace.batch import Item, Template
from headrace.errors import InputError, Unreachable
from headrace.files import FileStore
from headrace.hint import BULK
from headrace.intake import Committed, commit_input
from headrace.job import new_id
from headrace.ledger.open import open_batch
from headrace.ledger.script import AWAY, Ledger
from headrace.ledger.state import BATCH_TERMINAL
from headrace.prefill import FAILURES, SUCCESSES, checked_codes, choose, index_prefill
from headrace.summaries import batch_fields

WINDOW_S = 24 * 3600.0


async def open_new(
    ledger: Ledger,
    store: FileStore,
    template: Template,
    items: Iterator[Item],
    *,
    tenant: str,
    window_s: float = WINDOW_S,
    progress: Callable[[int], None] | None = None,
) -> str:
    """Commit `items` and open the batch; returns its id. Raises what `items` raises; then nothing is enqueued."""
    batch_id = new_id("batch")
    try:
        committed = await asyncio.to_thread(commit_input, store, batch_id, items, progress)
    except BaseException:
        store.remove(batch_id)
        raise
    await _open(ledger, batch_id, template, committed, tenant, window_s)
    return batch_id


async def open_retry(
    ledger: Ledger, store: FileStore, batch_id: str, *, tenant: str, codes: Collection[str] | None = None
) -> str:
    """Open a new batch that keeps what succeeded in a closed one and pays only for the rest, or of the rest only for what
    failed with one of `codes`. Returns its id. Raises `InputError` for a code that is none, and when nothing would run."""
    chosen = None if codes is None else checked_codes(codes)
    old = await batch_fields(ledger, batch_id)
    if old["state"] not in BATCH_TERMINAL:
        raise InputError(f"{batch_id} is {old['state']}; a batch is retried after it has ended")
    body = await ledger.client.get(ledger.keys.template(old["template"]))
    if body is None:
        raise InputError(f"{batch_id}: its template is past its retention; extract the input anew")
    if chosen is not None:
        await asyncio.to_thread(choose, store, old["errors"], chosen, batch_id)
    new = new_id("batch")
    try:
        store.link(old["input"], f"{new}/input.jsonl")
        store.link(old["index"], f"{new}/index")
        store.link(old["output"], f"{new}/{SUCCESSES}")
        if chosen is not None:
            store.link(old["errors"], f"{new}/{FAILURES}")
        await asyncio.to_thread(index_prefill, store, new, chosen)
    except BaseException:
        store.remove(new)
        raise
    committed = Committed(int(old["total"]), int(old["shards"]))
    extra = {"prefill": f"{new}/{SUCCESSES}", "retry_of": batch_id}
    await _open(ledger, new, msgspec.json.decode(body, type=Template), committed, tenant, WINDOW_S, extra)
    return new


async def _open(
    ledger: Ledger,
    batch_id: str,
    template: Template,
    committed: Committed,
    tenant: str,
    window_s: float,
    extra: dict[str, str] | None = None,
) -> None:
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
        **(extra or {}),
    }
    try:
        await open_batch(
            ledger,
            batch_id,
            template_sha=sha,
            template=body,
            window_ms=int(window_s * 1000),
            tenant=tenant,
            record=record,
        )
    except AWAY as error:
        # The input stays: the ledger may have the batch, only its answer was lost.
        raise Unreachable(
            f"Redis went away ({type(error).__name__}) while {batch_id} was opened. Whether it runs, "
            f"`headrace batches show {batch_id}` tells when Redis is back."
        ) from error
