"""Append: numbered events go into a job's log and to whoever watches, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger


async def append(ledger: Ledger, job_id: str, epoch: int, first_seq: int, events: Sequence[bytes]) -> str:
    """Write `events` (JSON), the first of which is number `first_seq` of the attempt. Returns the reason of a
    cancellation, or an empty string.

    What is stored already is skipped, so sending twice is safe. Raises `Gap` (the server lost a tail: send again from
    `detail`), `Fenced`, `Closed`, or `Unknown` (use `restore`).
    """
    keys = ledger.keys
    _, cancel = await ledger.run(
        "append",
        job_id,
        {"job": keys.job(job_id), "log": f"{keys.job(job_id)}:log"},
        {"epoch": epoch, "first_seq": first_seq, "channel": f"{keys.job(job_id)}:ch"},
        events,
    )
    return cancel.decode()
