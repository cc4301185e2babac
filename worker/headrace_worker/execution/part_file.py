"""The part file of a shard: its lines, and a write that waits until there is room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from headrace.batches.row_codec import line_of
from headrace.errors import StorageError
from headrace.storage.file_store import FileStore
from headrace_worker.execution.answer_index import keys_file


def part_lines(store: FileStore, rows: dict[int, bytes]) -> Iterable[bytes]:
    """Return the lines of a part: in input order, the kind byte in front, whatever lies in a segment fetched from there."""
    for _, row in sorted(rows.items()):
        yield row[:1].lower() + line_of(row, store) + b"\n"


def successes(rows: Mapping[int, bytes]) -> list[int]:
    """Return the items whose answers lie in the rows themselves: others have been taken over from an earlier batch."""
    return [index for index, row in rows.items() if row[:1] == b"s"]


def commit_part(store: FileStore, name: str, rows: dict[int, bytes], keys: bytes) -> None:
    """Commit a part, and beside it the keys by which its answers are found; nothing is lost with these but a later saving."""
    if keys:
        with suppress(FileExistsError):
            store.commit(keys_file(name), [keys], durable=False)
    store.commit_once(name, part_lines(store, rows))


async def with_room(write: Callable[[], object], *, patience_s: float = 600.0) -> None:
    """Call the blocking `write` in a thread until there is room for it: what it writes has been paid for."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            await asyncio.to_thread(write)
            return
        except StorageError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(1)
