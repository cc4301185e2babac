"""Cancel: a job that waits ends at once; one that runs is told at its next beat; a batch stops and is sealed by the leader."""

from __future__ import annotations

from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.script import Ledger


async def cancel(ledger: Ledger, subject_id: str, *, reason: str = "cancelled by its owner") -> str:
    """Cancel a job or a batch and return its new state. Idempotent.

    Raises `Unknown`, or `Finished` (with the state) when it ended before.
    """
    keys = ledger.keys
    record = keys.batch(subject_id) if subject_id.startswith("batch_") else keys.job(subject_id)
    (state,) = await ledger.run(
        "cancel",
        subject_id,
        {
            "record": record,
            "log": keys.log(record),
            "result_key": keys.result(record),
            "due": keys.due,
            "leases": keys.leases,
        },
        {
            "id": subject_id,
            "reason": reason,
            "result": b'{"code":"cancelled","message":"it was cancelled before it ran"}',
            "event": b'{"t":"end","status":"cancelled"}',
            "channel": keys.channel(record),
            "keep_ms": TOMBSTONE_MS,
        },
    )
    return state.decode()
