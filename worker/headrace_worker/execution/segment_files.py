"""The segment files of a shard: rows that are too large for Redis, or for which it has no room."""

from __future__ import annotations

from headrace.batches.row_codec import LinePointer
from headrace.ledger.checkpoint import CheckpointRow
from headrace.storage.file_store import FileStore
from headrace_worker.execution.part_file import with_room


class SegmentFiles:
    """The durable files of one attempt at a shard, whose names begin with `prefix`."""

    def __init__(self, store: FileStore, prefix: str):
        self._store = store
        self._prefix = prefix
        self._count = 0

    async def place(self, rows: list[CheckpointRow]) -> list[CheckpointRow]:
        """Write the lines into a durable file and return rows that name their places there."""
        self._count += 1
        name = f"{self._prefix}.{self._count}"
        placed, offset = [], 0
        for row in rows:
            if row.kind.isupper():
                placed.append(row)
                continue
            pointer = LinePointer(name, offset, len(row.line))
            placed.append(CheckpointRow(row.index, row.kind.upper(), pointer.encode(), row.counters))
            offset += len(row.line)
        lines = [row.line for row in rows if row.kind.islower()]
        await with_room(lambda: self._store.commit(name, lines))
        return placed
