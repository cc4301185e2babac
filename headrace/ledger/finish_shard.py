"""Finish a shard: set its committed part, once every item has a row, and delete the record and the rows."""

from __future__ import annotations

from headrace.ledger.keys import batch_of, shard_number
from headrace.ledger.script import Ledger


async def finish_shard(ledger: Ledger, shard_id: str, epoch: int, part: str, *, bill: str = "") -> bool:
    """Set `part` (see `shard_range.part_file`) as the shard's. Returns True for the first such call.

    `bill` is what the calls of this attempt have cost (`fragments/bill.lua`).

    Raises `Finished` (its `detail` names the winner) when another part won, `Gap` when items have no row, `Fenced`,
    `Closed` when the batch is sealed.
    """
    keys = ledger.keys
    batch = keys.batch(batch_of(shard_id))
    (first,) = await ledger.run(
        "finish_shard",
        shard_id,
        {
            "shard": keys.shard(shard_id),
            "rows": keys.rows(keys.shard(shard_id)),
            "batch": batch,
            "parts": keys.parts(batch),
            "held": keys.held,
            "leases": keys.leases,
            "due": keys.due,
            "log": keys.log(batch),
        },
        {
            "id": shard_id,
            "epoch": epoch,
            "number": shard_number(shard_id),
            "part": part,
            "channel": keys.channel(batch),
            "bill": bill,
        },
    )
    return first == b"first"
