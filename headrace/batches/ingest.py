"""Ingest a batch's input: validate it item by item, index it, commit it. Every error is raised before a call is paid."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from heapq import nsmallest
from typing import Any, NamedTuple

import msgspec

from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import MAX_NAMED_ERRORS, Complaints, InputRecord, cut
from headrace.batches.inputs.request_parts import OnEmpty, RequestParts
from headrace.batches.inputs.seen_ids import SeenIds
from headrace.batches.media.choice import FILE_FIELD
from headrace.batches.media.references import Blob
from headrace.batches.prompt import value_text
from headrace.batches.template import Item, Template
from headrace.errors import InputError
from headrace.ledger.shard_range import ShardRange
from headrace.storage.blobs import FOLDER as BLOBS
from headrace.storage.blobs import keep_blob
from headrace.storage.file_store import FileStore
from headrace.text.quoting import quoted

UPLOAD = "upload.jsonl"
"""The name of an uploaded input in the folder of its batch, until it has been checked."""
MIN_SHARD_ITEMS = 8
SHARD_ITEMS = 64
MAX_SHARD_ITEMS = 256
TARGET_SHARDS = 8
MANY_SHARDS = 64
LARGEST_SHARDS_FROM = MAX_SHARD_ITEMS * MANY_SHARDS
INDEX_ENTRY = struct.Struct("<QQQQ")


class Committed(msgspec.Struct, frozen=True):
    """A checked input in the store: how many items, in how many shards; and the models that items bring, each with those that
    are tried in its place."""

    total: int
    shards: int
    models: tuple[tuple[str, ...], ...] = ()


class InputFiles(NamedTuple):
    """The names of a batch's input and of the index of its shards."""

    lines: str
    ranges: str

    @classmethod
    def of(cls, batch_id: str, attempt: int | None = None) -> InputFiles:
        """Return the names; of an `attempt`, which another one may follow, its own."""
        mark = "" if attempt is None else f".{attempt}"
        return cls(f"{batch_id}/input{mark}.jsonl", f"{batch_id}/index{mark}")


def read_items(
    found: Iterator[InputRecord],
    template: Template,
    source: str = "the input",
    *,
    complaints: Complaints | None = None,
    on_empty: OnEmpty = "refuse",
    choice: ColumnChoice | None = None,
    parts: RequestParts | None = None,
) -> Iterator[Item | Blob]:
    """Yield the items of `found`, one by one, each after the blobs that it refers to. Raises `InputError` at the end, for all
    lines that cannot be used, and when there is no item.

    `parts` makes a request of the fields of each, by default those that the prompt names; `choice` names the columns that are
    kept, and that of the id: else it is `custom_id`, else `id`, else the line number. `complaints` collects the errors of the
    reader of `found`, too; it counts what is skipped (`on_empty="skip"`), and says what becomes of a line that cannot be used.
    """
    complaints = complaints or Complaints(source)
    parts = parts or RequestParts(template, on_empty)
    choice = choice or ColumnChoice.of(parts.needed)
    seen = SeenIds(at_once=complaints.on_bad_row != "refuse")
    model: tuple[Any, int] | None = None
    records = iter(found)
    while (record := next_of(records, complaints)) is not None:
        try:
            if record.error is not None:
                item, blobs = refused_item(record, record.error), []
            else:
                item, blobs = parts.item(record, id_of(record, choice), choice)
            if item is None:
                complaints.skipped += 1
                continue
            if item.messages is not None and parts.is_batch_form(record.fields):
                model = model or (record.fields["body"].get("model"), record.number)
                check_same_model(record, *model)
            if before := seen.add(item.custom_id, record.number):
                raise InputError(
                    f"{record.where}: custom_id {quoted(item.custom_id)} was used on line {before} already"
                )
        except InputError as error:
            if complaints.on_bad_row != "error":
                complaints.leave_out(str(error))
                continue
            kept = own_columns(record, choice)
            item, blobs = refused_item(record, cut(str(error)), own_id(record, choice), kept), []
            if seen.add(item.custom_id, record.number):
                item = refused_item(record, cut(str(error)), kept=kept)
                if seen.add(item.custom_id, record.number):
                    complaints.add(
                        f"{record.where}: {quoted(item.custom_id)}, the id of its error line, is another item's"
                    )
                    continue
        if item.refused is not None:
            complaints.note(item.refused)
        if not complaints.count:
            yield from blobs
            yield item
    for number, before in nsmallest(MAX_NAMED_ERRORS, seen.late()):
        complaints.add(f"{source}, line {number}: its custom_id was used on line {before} already")
    complaints.check()
    if seen.count > complaints.bad:
        parts.check_columns(source)
    if not seen.count:
        why = (
            f"all {complaints.skipped + complaints.bad} were skipped"
            if complaints.skipped or complaints.bad
            else "it is empty, or only its header is there"
        )
        raise InputError(f"{source}: there is no item in it ({why})")


def next_of(records: Iterator[InputRecord], complaints: Complaints) -> InputRecord | None:
    """Return the next record; None at the end, and where the rest cannot be read."""
    try:
        return next(records, None)
    except InputError as error:
        complaints.add(str(error))
        return None


def refused_item(record: InputRecord, error: str, named: str | None = None, kept: dict[str, Any] | None = None) -> Item:
    """Return the item that becomes an error line without a call; its id is that of its line, where it is not `named`."""
    if named is None and (record.error is not None or FILE_FIELD in record.fields):
        named = record.fields.get("custom_id")
        named = named and f"{named}{record.suffix}"
    return Item(custom_id=named or record.line_id, refused=error, kept=kept)


def own_id(record: InputRecord, choice: ColumnChoice) -> str | None:
    """Return the id of a record that cannot be used for another reason, so that its error line is found by it; else None."""
    try:
        return id_of(record, choice)
    except InputError:
        return None


def own_columns(record: InputRecord, choice: ColumnChoice) -> dict[str, Any] | None:
    """Return what the error line of a record keeps of its columns: those that it has."""
    if not choice.keeps:
        return None
    there = (
        choice if choice.keep is None else choice._replace(keep=tuple(filter(record.fields.__contains__, choice.keep)))
    )
    try:
        return there.kept(record.fields, record.where) or None
    except InputError:  # one of them is a file
        return None


def id_of(record: InputRecord, choice: ColumnChoice) -> str:
    fields = record.fields
    if choice.id is None:
        name = "custom_id"
        custom_id = fields["custom_id"] if "custom_id" in fields else fields.get("id", record.line_id)
    elif (name := choice.id_column) is None:
        return record.line_id
    elif name in fields:
        custom_id = fields[name]
    else:
        there = ", ".join(sorted(map(str, fields))) or "none"
        raise InputError(f"{record.where}: field `{name}`, which --id (`id`) names, is missing. Fields there: {there}")
    if isinstance(custom_id, msgspec.Raw):
        custom_id = value_text(custom_id)
    elif isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if record.suffix and custom_id and isinstance(custom_id, str) and custom_id != record.line_id:
        custom_id += record.suffix
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        raise InputError(f"{record.where}: `{name}` must be a text of 1 to 512 characters")
    return custom_id


def check_same_model(record: InputRecord, model: Any, number: int) -> None:
    own = record.fields["body"].get("model")
    if own != model:
        raise InputError(
            f"{record.where}: /body/model is {own!r:.80}, on line {number} it was {model!r:.80}: a batch asks one model, the one "
            "of --model; make a file of each"
        )


def commit_input(
    store: FileStore,
    batch_id: str,
    items: Iterator[Item | Blob],
    progress: Callable[[int], None] | None = None,
    *,
    files: InputFiles | None = None,
) -> Committed:
    """Write `items` as the batch's input with the index of its shards. Both files appear atomically, or neither. Blobs among
    them lie in the batch's folder before.

    See `shard_items` for their size. `files` are their names, where those of `InputFiles.of` may be taken.
    """
    files = files or InputFiles.of(batch_id)
    ends = array("Q")  # the byte at which each line ends, or each `step`-th: a few bytes an item, or fewer
    step = 1
    total = offset = 0
    has_blobs, models = False, dict[tuple[str, ...], None]()
    with store.writer(files.lines) as file:
        for item in items:
            if isinstance(item, Blob):
                keep_blob(store, batch_id, item.sha, item.data)
                has_blobs = True
                continue
            if item.model is not None:
                models[(item.model, *item.fallbacks)] = None
            line = msgspec.json.encode(item) + b"\n"
            file.write(line)
            offset += len(line)
            total += 1
            if total % step == 0:
                ends.append(offset)
            if step == 1 and total == LARGEST_SHARDS_FROM:
                step = MAX_SHARD_ITEMS  # from here on all shards are of this size
                ends = ends[step - 1 :: step]
            if progress is not None and total % 1000 == 0:
                progress(total)
    if has_blobs:
        store.sync(f"{batch_id}/{BLOBS}")
    if total % step:
        ends.append(offset)
    size = shard_items(total)
    ranges = []
    for line in range(0, total, size):
        last = min(line + size, total)
        start = ends[line // step - 1] if line else 0
        ranges.append(ShardRange(line, last - line, start, ends[-(-last // step) - 1] - start))
    store.commit(files.ranges, (INDEX_ENTRY.pack(*msgspec.structs.astuple(shard)) for shard in ranges))
    return Committed(total, len(ranges), tuple(models))


def shard_items(total: int) -> int:
    """Return the number of items in each shard of a batch of `total`.

    A small batch has eight shards, as many as a bulk worker runs at a time, so that workers share it. From some hundred items
    on they keep their size, until there are enough of them for many workers: then they grow, since each costs a hint, events
    and a file, up to the size that bounds the memory that rows take in Redis.
    """
    few, many = -(-total // TARGET_SHARDS), -(-total // MANY_SHARDS)
    return max(MIN_SHARD_ITEMS, min(SHARD_ITEMS, few), min(MAX_SHARD_ITEMS, many))


def read_index(store: FileStore, name: str, first: int, count: int) -> list[ShardRange]:
    """Return the ranges of at most `count` shards from number `first` on."""
    data = store.read(name, first * INDEX_ENTRY.size, count * INDEX_ENTRY.size)
    return [ShardRange(*entry) for entry in INDEX_ENTRY.iter_unpack(data)]
