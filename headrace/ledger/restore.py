"""Restore: the worker that holds an attempt writes its record again after the server lost it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.ledger.claim import LEASE_MS
from headrace.ledger.script import Ledger


async def restore(
    ledger: Ledger,
    job_id: str,
    epoch: int,
    record: Mapping[str, bytes],
    events: Sequence[bytes],
    *,
    first_seq: int = 1,
    lease_ms: int = LEASE_MS,
) -> int:
    """Write `record` (as `claim` returned it) and all `events` from number `first_seq` on, under the same ids (the first is
    `attempt.start`, or a snapshot). Returns the last number of the log: a smaller one than that of `events` if the record
    was there after all. Raises `Fenced` when the server knows a newer attempt."""
    keys = ledger.keys
    (seq,) = await ledger.run(
        "restore",
        job_id,
        {
            "job": keys.job(job_id),
            "log": keys.log(keys.job(job_id)),
            "leases": keys.leases,
            "jobs": keys.jobs(record.get("tenant", b"default").decode()),
        },
        {
            "id": job_id,
            "epoch": epoch,
            "lease_ms": lease_ms,
            "channel": keys.channel(keys.job(job_id)),
            "first_seq": first_seq,
            "count": len(record),
        },
        [*(part for name, value in record.items() for part in (name, value)), *events],
    )
    return int(seq)
