"""Seal: stop adding rows to the batch and queue its join. Also the move that notices expiry."""

from __future__ import annotations

from headrace.ledger.script import Ledger
from headrace.ledger.submit import GRACE_MS


async def seal(ledger: Ledger, batch_id: str, *, queue: str) -> str:
    """Move the batch to `finalizing` and queue its join `<batch>.join`; returns the queue for its hint.

    Raises `Busy` while shards are unfinished, or, in a batch that is cancelled or has expired, while shards still run.
    """
    keys = ledger.keys
    batch = keys.batch(batch_id)
    (queue_name,) = await ledger.run(
        "seal",
        batch_id,
        {
            "batch": batch,
            "join": keys.join(batch_id),
            "due": keys.due,
            "open": keys.open,
            "log": keys.log(batch),
        },
        {"id": batch_id, "queue": queue, "grace_ms": GRACE_MS, "channel": keys.channel(batch)},
    )
    return queue_name.decode()
