"""Compact: a snapshot replaces all earlier events of an attempt, so that a long log stays short."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def compact(ledger: Ledger, job_id: str, epoch: int, seq: int, event: bytes) -> int:
    """Write `event` (a `snapshot` of everything before number `seq`) as that number and trim what it replaces. Returns the
    last number of the log. Idempotent.

    It may also skip numbers that the server has lost. Raises `Fenced`, `Closed`, or `Unknown` (use `restore`).
    """
    keys = ledger.keys
    (last,) = await ledger.run(
        "compact",
        job_id,
        {"job": keys.job(job_id), "log": keys.log(keys.job(job_id))},
        {"epoch": epoch, "seq": seq, "event": event, "channel": keys.channel(keys.job(job_id))},
    )
    return int(last)
