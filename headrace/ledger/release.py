"""Release: hand a record back for another worker to claim, without counting a crash. For deploys."""

from __future__ import annotations

from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger
from headrace.ledger.submit import GRACE_MS


async def release(ledger: Ledger, record_id: str, epoch: int, *, calls: str, home: bool = False, bill: str = "") -> str:
    """Queue `record_id` again and return the queue on which its hint is to be published.

    With `home` it leaves quarantine, and its crash count is reset. `bill` is what its calls have cost (`fragments/bill.lua`).
    """
    keys = ledger.keys
    (queue,) = await ledger.run(
        "release",
        record_id,
        {
            "record": keys.record(record_id),
            "due": keys.due,
            "leases": keys.leases,
            "batch": keys.batch(batch_of(record_id)),
        },
        {"id": record_id, "epoch": epoch, "calls": calls, "grace_ms": GRACE_MS, "home": int(home), "bill": bill},
    )
    return queue.decode()
