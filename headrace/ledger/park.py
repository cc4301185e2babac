"""Park: release the slot until a later time, without counting a crash: a long `Retry-After`, no space on the disk."""

from __future__ import annotations

from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger


async def park(
    ledger: Ledger, record_id: str, epoch: int, *, delay_ms: int, calls: str, reason: str, bill: str = ""
) -> None:
    """Park `record_id` for `delay_ms`. `calls` stores the calls already made, so that the retry budget outlives the wait; `bill`
    is what they have cost (`fragments/bill.lua`). A shard's `reason` is its batch's `waiting` until an item succeeds."""
    keys = ledger.keys
    batch = keys.batch(batch_of(record_id))
    await ledger.run(
        "park",
        record_id,
        {
            "record": keys.record(record_id),
            "due": keys.due,
            "leases": keys.leases,
            "batch": batch,
            "log": keys.log(batch),
        },
        {
            "id": record_id,
            "epoch": epoch,
            "delay_ms": max(int(delay_ms), 0),
            "calls": calls,
            "reason": reason,
            "channel": keys.channel(batch),
            "bill": bill,
        },
    )
