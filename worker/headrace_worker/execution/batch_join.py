"""The join of a batch: its parts become one output and one file of errors, in input order, every item in exactly one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import msgspec

from headrace.batches.ingest import read_index
from headrace.batches.outputs.openai_lines import error_file_lines, is_file_in_form, letters, output_file_lines
from headrace.batches.outputs.output_lines import KIND_OF_STATE, error_line
from headrace.batches.prefill import kept_rows
from headrace.batches.row_codec import is_row
from headrace.batches.template import Item
from headrace.errors import Failure, StorageError
from headrace.ledger.batch_record import BatchRecord, parts_of_shards
from headrace.ledger.close import OutputFile, close
from headrace.ledger.file_record import content_of
from headrace.ledger.keys import shard_id
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.shard_rows import rows_of
from headrace.storage.file_store import FileStore
from headrace.waiting import retry_write
from headrace_worker.execution.answer_index import AnswerIndex, keys_of_part
from headrace_worker.execution.filed_answers import file_of_answers, index_file
from headrace_worker.execution.part_file import part_lines
from headrace_worker.execution.shard_answers import ItemKeys
from headrace_worker.worker_process import WorkerProcess

STATES = {kind.encode(): state for state, kind in KIND_OF_STATE.items()}
UNFINISHED = {
    "cancelled": Failure("batch_cancelled", "its batch was cancelled before it ran"),
    "expired": Failure("batch_expired", "its batch expired before it ran"),
}


async def join(process: WorkerProcess, batch_id: str, epoch: int, batch: BatchRecord, store: FileStore) -> None:
    """Write `output.<epoch>.jsonl` and `errors.<epoch>.jsonl` and close the batch with them.

    Also after a cancellation or an expiry: rows that were paid for are taken from the shards' records, and items that
    never ran become error lines. Raises `StorageError`, or a `Refused` when another join was faster.
    """
    ledger = process.ledger
    shards = batch.shards
    parts = await retry_write(lambda: parts_of_shards(ledger, batch_id))
    left = [number for number in range(shards) if number not in parts]
    fed = batch.fed
    rows: dict[int, dict[int, bytes]] = {}
    for number in left:
        if number < fed:  # a shard that was never fed has no rows
            there = await retry_write(lambda number=number: rows_of(ledger, shard_id(batch_id, number)))
            rows[number] = {index: row for index, row in there.items() if is_row(row)}
    output, errors = f"{batch_id}/output.{epoch}.jsonl", f"{batch_id}/errors.{epoch}.jsonl"
    taken_over: Counter[str] = Counter()
    answers = await _index_of(process, batch)
    unfinished = await asyncio.to_thread(
        _write, store, batch_id, epoch, batch, parts, rows, taken_over, output, errors, answers
    )
    found_by = file_of_answers(batch_id, epoch)
    is_indexed = answers is not None and await asyncio.to_thread(answers.write, store, index_file(found_by))
    output_file, error_file = await asyncio.to_thread(_publish, store, batch, epoch, output, errors)
    await retry_write(
        lambda: close(
            ledger,
            batch_id,
            epoch,
            output=output,
            errors=errors,
            unfinished=unfinished,
            left=[shard_id(batch_id, number) for number in left if number < fed],
            taken_over=taken_over,
            output_file=output_file,
            error_file=error_file,
        )
    )
    if answers is not None and is_indexed and process.engine.answers is not None:
        await process.engine.answers.add_file(batch.tenant, answers.family, found_by, paid_from_ms=batch.created_ms)
    await asyncio.to_thread(_sweep, store, batch_id)


async def _index_of(process: WorkerProcess, batch: BatchRecord) -> AnswerIndex | None:
    """Return the index of a batch's answers, to be filled; None for a batch that keeps none."""
    cache = process.engine.answers
    try:
        template = await process.template(batch.template)
    except (KeyError, StorageError, *UNAVAILABLE):  # the output needs none
        return None
    if cache is None or template.cache in (False, "read") or (keys := await cache.keys(batch.tenant)) is None:
        return None
    return AnswerIndex(cache, ItemKeys(keys, template, process.engine).family)


def _write(
    store: FileStore,
    batch_id: str,
    epoch: int,
    batch: BatchRecord,
    parts: dict[int, str],
    rows: dict[int, dict[int, bytes]],
    taken_over: Counter[str],
    output: str,
    errors: str,
    answers: AnswerIndex | None,
) -> int:
    """Write the output. Returns the number of items that never ran; counts those in `taken_over` that an earlier batch has
    run."""
    reason = UNFINISHED.get(batch.outcome, UNFINISHED["cancelled"])
    unfinished = offset = 0
    store.remove(output)  # of this very epoch: a first try of ours that ended before it could close
    store.remove(errors)
    with store.writer(output) as good, store.writer(errors) as bad:
        for number, shard in enumerate(_ranges(store, batch)):
            keys = b""
            if number in parts:
                lines: Iterator[bytes] = store.lines(parts[number])
                keys = b"" if answers is None else keys_of_part(store, parts[number])
            else:
                there = rows.get(number, {})
                if batch.is_prefilled:
                    there = _kept(store, batch_id, shard, there, taken_over) | there
                missing = _missing(store, batch, shard, there, reason, f"{batch_id}.{{}}.{epoch}.0")
                unfinished += len(missing)
                lines = iter(part_lines(store, there | missing))
            for index, line in enumerate(lines):
                is_good = line[:1] == b"s"
                (good if is_good else bad).write(line[1:])
                if is_good and answers is not None:
                    answers.add(keys, index, offset, line[1:])
                    offset += len(line) - 1
    return unfinished


def _publish(
    store: FileStore, batch: BatchRecord, epoch: int, output: str, errors: str
) -> tuple[OutputFile | None, OutputFile | None]:
    """Put the output and the errors of a batch that was created over HTTP among the files of callers; None for an empty one.
    Until `close` has entered them nobody sees them, and those of an attempt that loses are swept."""
    if not batch.endpoint:
        return None, None
    made: list[OutputFile | None] = []
    for kind, name in (("output", output), ("errors", errors)):
        file = OutputFile(f"file-{letters(f'{batch.id}.{epoch}.{kind}')}", store.size(name))
        if not file.size:
            made.append(None)
            continue
        content = content_of(file.id)
        store.remove(content)  # of a first try of this very attempt
        if kind == "errors":
            file = file._replace(size=store.commit(content, error_file_lines(store, name)))
        elif is_file_in_form(store, batch, name):
            store.link(name, content)
        else:
            file = file._replace(size=store.commit(content, output_file_lines(store, batch, name)))
        made.append(file)
    return made[0], made[1]


def _kept(
    store: FileStore, batch_id: str, shard: ShardRange, rows: dict[int, bytes], taken_over: Counter[str]
) -> dict[int, bytes]:
    """Return the rows of an earlier batch that the shard would have taken over: they are paid, whether it began or not."""
    found, codes = kept_rows(store, batch_id, shard.line, shard.count)
    kept = {index: row for index, row in found if index not in rows}
    for index, row in kept.items():
        taken_over[STATES[row[:1].lower()]] += 1
        taken_over["prefilled"] += 1
        if index in codes:
            taken_over[f"code:{codes[index]}"] += 1
    return kept


def _missing(
    store: FileStore,
    batch: BatchRecord,
    shard: ShardRange,
    rows: dict[int, bytes],
    reason: Failure,
    request_id: str,
) -> dict[int, bytes]:
    data = store.read(batch.input, shard.offset, shard.length)
    missing = {}
    for index, line in enumerate(data.splitlines()):
        if index not in rows:
            item = msgspec.json.decode(line, type=Item)
            missing[index] = b"c" + error_line(item.custom_id, request_id.format(shard.line + index), reason)
    return missing


def _ranges(store: FileStore, batch: BatchRecord) -> Iterator[ShardRange]:
    shards, page = batch.shards, 1024
    for first in range(0, shards, page):
        yield from read_index(store, batch.index, first, min(page, shards - first))


def _sweep(store: FileStore, batch_id: str) -> None:
    """Delete the parts and segments, which are in the output now, and orphans of crashed attempts."""
    store.remove(f"{batch_id}/parts")
    store.remove(f"{batch_id}/segments")
