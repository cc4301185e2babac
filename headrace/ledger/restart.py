"""Restart: the same worker begins a new attempt at its job, because deltas of the last one were published already (retry or
fallback)."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def restart(ledger: Ledger, job_id: str, epoch: int, *, token: str, reason: str) -> int:
    """Begin an attempt under a larger epoch and return that; viewers clear what they showed.

    `reason` is one word. Idempotent: the same `token` returns the same epoch. Raises `Fenced` or `Closed`, and
    `Shown` when what was published may not be taken back.
    """
    keys = ledger.keys
    (fresh,) = await ledger.run(
        "restart",
        job_id,
        {"job": keys.job(job_id), "log": keys.log(keys.job(job_id))},
        {"epoch": epoch, "token": token, "reason": reason, "channel": keys.channel(keys.job(job_id))},
    )
    return int(fresh)
