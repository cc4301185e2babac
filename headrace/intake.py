"""A batch's input comes in: read line by line, checked, indexed, committed. Every complaint names file and line, and
comes before anything is paid or enqueued."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from headrace.batch import Item, ShardRange, Template, prompt_fields
from headrace.errors import InputError
from headrace.files import FileStore, write_all

LINE_BYTES = 1024 * 1024
SHARD_ITEMS = 125
SHARDS_WISHED = 8
INDEX_ENTRY = struct.Struct("<QQQQ")
BOM = b"\xef\xbb\xbf"


class Committed(msgspec.Struct, frozen=True):
    """A checked input in the store: how many items, in how many shards."""

    total: int
    shards: int


def read_items(path: Path, template: Template) -> Iterator[Item]:
    """The items of a JSONL file, one by one. Raises `InputError` with the line number of the first that cannot be used.

    A line is a JSON object with the fields that the prompt names. Its id is `custom_id`, else `id`, else its line number.
    """
    needed = prompt_fields(template.prompt)
    seen: dict[int, int] = {}
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        number = 0
        for number, raw in _raw_lines(file, path):
            where = f"{path}, line {number}"
            item = _item(raw, needed, number, where)
            mark = int.from_bytes(blake2b(item.custom_id.encode(), digest_size=8).digest())
            if mark in seen:
                raise InputError(f"{where}: custom_id {item.custom_id!r} was used on line {seen[mark]} already")
            seen[mark] = number
            yield item
        if not seen:
            raise InputError(
                f"{path}: there is no item in it (the file is empty)" if not number else f"{path}: no items"
            )


def _raw_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(LINE_BYTES + 1):
        number += 1
        if len(raw) > LINE_BYTES and not raw.endswith(b"\n"):
            raise InputError(f"{path}, line {number}: longer than {LINE_BYTES} bytes (1 MiB), the most a line may have")
        if number == 1 and raw.startswith(BOM):
            raise InputError(f"{path}, line 1: begins with a byte order mark; save the file as UTF-8 without BOM")
        if raw.strip():
            yield number, raw


def _item(raw: bytes, needed: list[str], number: int, where: str) -> Item:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not UTF-8 (byte {error.start + 1} of the line is {raw[error.start]:#04x})"
        ) from None
    try:
        line: Any = msgspec.json.decode(raw)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(line, dict):
        raise InputError(f'{where}: must be a JSON object like {{"text": …}}, not {type(line).__name__}')
    custom_id = line.get("custom_id", line.get("id", f"line-{number}"))
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        raise InputError(f"{where}: `custom_id` must be a text of 1 to 512 characters")
    for field in needed:
        if field not in line:
            there = ", ".join(sorted(line)) or "none"
            raise InputError(f"{where}: field `{field}`, which the prompt names, is missing. Fields there: {there}")
    return Item(custom_id=custom_id, fields={field: line[field] for field in needed})


def commit_input(
    store: FileStore, batch_id: str, items: Iterator[Item], progress: Callable[[int], None] | None = None
) -> Committed:
    """Write `items` as the batch's input with the index of its shards. Both appear whole or not at all.

    A shard has at most 125 items. A small batch has eight shards, as many as a bulk worker holds, so that it is shared
    out; from 1,000 items on their size, and with it the memory that rows take in Redis, grows no more.
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
