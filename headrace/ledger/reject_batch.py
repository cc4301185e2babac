"""Reject batch: lines of its input cannot be used, so it ends, `failed`, before anything was paid."""

from __future__ import annotations

from headrace.ledger.close import KEEP_MS
from headrace.ledger.script import Ledger


async def reject_batch(ledger: Ledger, batch_id: str, epoch: int, *, rejection: str, reason: str) -> bool:
    """End the batch under the `epoch` of its check. `rejection` is the file with what is wrong, `reason` says it in a
    sentence. Returns True for the first such call.

    Raises `Closed` when it was cancelled meanwhile, `Fenced`, `Unknown`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_id)
    (first,) = await ledger.run(
        "reject_batch",
        batch_id,
        {
            "batch": batch,
            "check": keys.check(batch_id),
            "due": keys.due,
            "leases": keys.leases,
            "log": keys.log(batch),
        },
        {
            "id": batch_id,
            "epoch": epoch,
            "rejection": rejection,
            "reason": reason,
            "keep_ms": KEEP_MS,
            "channel": keys.channel(batch),
        },
    )
    return first == b"first"
