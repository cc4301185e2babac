"""A batch's input comes in: checked item by item, indexed, committed. Every complaint comes before anything is paid."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from hashlib import blake2b

import msgspec

from headrace.batch import Item, ShardRange, Template, prompt_fields
from headrace.errors import InputError
from headrace.files import FileStore, write_all
from headrace.inputs import Record

SHARD_ITEMS = 64
SHARDS_WISHED = 8
INDEX_ENTRY = struct.Struct("<QQQQ")


class Committed(msgspec.Struct, frozen=True):
    """A checked input in the store: how many items, in how many shards."""

    total: int
    shards: int


def read_items(found: Iterator[Record], template: Template, source: str = "the input") -> Iterator[Item]:
    """The items of `found`, one by one. Raises `InputError` for the first that cannot be used, and when there is none.

    An item has the fields that the prompt names. Its id is `custom_id`, else `id`, else its line number.
    """
    needed = prompt_fields(template.prompt)
    seen: dict[int, int] = {}
    for record in found:
        item = _item(record, needed)
        mark = int.from_bytes(blake2b(item.custom_id.encode(), digest_size=8).digest())
        if mark in seen:
            raise InputError(f"{record.where}: custom_id {item.custom_id!r} was used on line {seen[mark]} already")
        seen[mark] = record.number
        yield item
    if not seen:
        raise InputError(f"{source}: there is no item in it (it is empty, or only its header is there)")


def _item(record: Record, needed: list[str]) -> Item:
    fields = record.fields
    custom_id = fields.get("custom_id", fields.get("id", f"line-{record.number}"))
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        raise InputError(f"{record.where}: `custom_id` must be a text of 1 to 512 characters")
    for field in needed:
        if field not in fields:
            there = ", ".join(sorted(map(str, fields))) or "none"
            raise InputError(
                f"{record.where}: field `{field}`, which the prompt names, is missing. Fields there: {there}"
            )
    return Item(custom_id=custom_id, fields={field: fields[field] for field in needed})


def commit_input(
    store: FileStore, batch_id: str, items: Iterator[Item], progress: Callable[[int], None] | None = None
) -> Committed:
    """Write `items` as the batch's input with the index of its shards. Both appear whole or not at all.

    A small batch has eight shards, as many as a bulk worker holds, so that it is shared out; from some hundred items on
    their size, and with it the memory that rows take in Redis, grows no more.
    """
    ends = array("Q")  # the byte at which each line ends: eight bytes an item, whatever the input's size
    offset = 0
    with store.writer(f"{batch_id}/input.jsonl") as file:
        for item in items:
            line = msgspec.json.encode(item) + b"\n"
            write_all(file, line)
            offset += len(line)
            ends.append(offset)
            if progress is not None and len(ends) % 1000 == 0:
                progress(len(ends))
    total = len(ends)
    size = max(min(SHARD_ITEMS, -(-total // SHARDS_WISHED)), 8)
    ranges = []
    for line in range(0, total, size):
        last = min(line + size, total)
        start = ends[line - 1] if line else 0
        ranges.append(ShardRange(line, last - line, start, ends[last - 1] - start))
    store.commit(f"{batch_id}/index", (INDEX_ENTRY.pack(*msgspec.structs.astuple(shard)) for shard in ranges))
    return Committed(total, len(ranges))


def read_index(store: FileStore, name: str, first: int, count: int) -> list[ShardRange]:
    """The ranges of at most `count` shards from number `first` on."""
    data = store.read(name, first * INDEX_ENTRY.size, count * INDEX_ENTRY.size)
    return [ShardRange(*entry) for entry in INDEX_ENTRY.iter_unpack(data)]
