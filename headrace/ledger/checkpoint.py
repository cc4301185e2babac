"""Checkpoint: make rows of a running shard durable, and add the new ones to the batch's counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headrace.ledger.batch_record import batch_counters
from headrace.ledger.claim import LEASE_MS
from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger

ROW_BYTES = 256 * 1024
SHARD_BYTES = 1024 * 1024
ALL_BYTES = 16 * 1024 * 1024
MAX_STREAK = 20


class CheckpointRow(msgspec.Struct, frozen=True):
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


class Failing(msgspec.Struct, frozen=True):
    """Failures that are not an item's own (a key, a model, an address): their `code`, the number of them in this attempt at
    the shard, and the `reason` to pause the batch with when it has had too many."""

    code: str
    count: int
    reason: str


async def checkpoint(
    ledger: Ledger,
    shard_id: str,
    epoch: int,
    rows: Sequence[CheckpointRow],
    *,
    item: str = "",
    failing: Failing | None = None,
    bill: str = "",
    lease_ms: int = LEASE_MS,
) -> str:
    """Set `rows` where none is yet, renew the lease, and return the state of the batch. Idempotent.

    `failing` counts failures that get no row: a circuit breaker pauses the batch after `MAX_STREAK` of one code in the
    whole batch without a success between.

    `bill` is what the calls of this attempt have cost so far (`fragments/bill.lua`).

    `item` names the item about to run alone in quarantine. Raises `Spill` when the ledger holds too many bytes: nothing is
    set then, and the lines belong into a segment file. Raises `Fenced`, `Closed` (the batch is sealed) or `Unknown`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_of(shard_id))
    (state,) = await ledger.run(
        "checkpoint",
        shard_id,
        {
            "shard": keys.shard(shard_id),
            "rows": keys.rows(keys.shard(shard_id)),
            "batch": batch,
            "held": keys.held,
            "leases": keys.leases,
            "log": keys.log(batch),
        },
        {
            "id": shard_id,
            "epoch": epoch,
            "lease_ms": lease_ms,
            "shard_bytes": SHARD_BYTES,
            "all_bytes": ALL_BYTES,
            "item": item,
            "channel": keys.channel(batch),
            "failing": failing.code if failing else "",
            "failures": failing.count if failing else 0,
            "most_failures": MAX_STREAK,
            "reason": failing.reason if failing else "",
            "bill": bill,
        },
        [
            part
            for row in rows
            for part in (row.index, row.stored, " ".join(f"{name} {value}" for name, value in row.counters.items()))
        ],
    )
    return state.decode()


async def is_settled(ledger: Ledger, shard_id: str) -> bool:
    """Return True if failures that got no row are known to be their items' own: others of the batch succeeded since, or none is
    left that could."""
    counters = await batch_counters(ledger, batch_of(shard_id))
    return counters.streak == 0 or counters.pending <= counters.streak
