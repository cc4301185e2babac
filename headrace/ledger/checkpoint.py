"""Checkpoint: rows of a running shard become durable, and the batch's counters move by those that are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headrace.ledger.claim import LEASE_MS
from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger

ROW_BYTES = 256 * 1024
SHARD_BYTES = 1024 * 1024
ALL_BYTES = 16 * 1024 * 1024


class Row(msgspec.Struct, frozen=True):
    """The outcome of one item: its `index` in the shard, the final output `line`, its `kind` (the first letter of
    succeeded, failed, cancelled or dead; in capitals, `line` says where in a segment file the line lies), and what it
    cost in counters (tokens)."""

    index: int
    kind: str
    line: bytes
    counters: Mapping[str, int] = {}

    @property
    def stored(self) -> bytes:
        return self.kind.encode() + self.line


async def checkpoint(
    ledger: Ledger, shard_id: str, epoch: int, rows: Sequence[Row], *, item: str = "", lease_ms: int = LEASE_MS
) -> str:
    """Set `rows` where none is yet, renew the lease, and return the state of the batch.

    `item` names the item about to run alone in quarantine. Raises `Spill` when the ledger holds too many bytes: nothing
    is set then, and the lines belong into a segment file. Raises `Fenced`, `Closed` (the batch is sealed) or `Unknown`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_of(shard_id))
    (state,) = await ledger.run(
        "checkpoint",
        shard_id,
        {
            "shard": keys.shard(shard_id),
            "rows": f"{keys.shard(shard_id)}:res",
            "batch": batch,
            "held": keys.held,
            "leases": keys.leases,
            "log": f"{batch}:log",
        },
        {
            "id": shard_id,
            "epoch": epoch,
            "lease_ms": lease_ms,
            "shard_bytes": SHARD_BYTES,
            "all_bytes": ALL_BYTES,
            "item": item,
            "channel": f"{batch}:ch",
        },
        [
            part
            for row in rows
            for part in (row.index, row.stored, " ".join(f"{name} {value}" for name, value in row.counters.items()))
        ],
    )
    return state.decode()


async def rows_of(ledger: Ledger, shard_id: str) -> dict[int, bytes]:
    """Every row that a shard has so far, by index: the kind byte and the line, or where it lies."""
    found = await ledger.client.hgetall(f"{ledger.keys.shard(shard_id)}:res")
    return {int(index): row for index, row in found.items()}
