"""Finish: the only terminal transition of a job: last event, result and counters in one fenced call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.ledger.script import Ledger
from headrace.ledger.state import TERMINAL, JobState

TOMBSTONE_MS = 24 * 3600 * 1000


async def finish(
    ledger: Ledger,
    job_id: str,
    epoch: int,
    state: JobState,
    *,
    seq: int,
    event: bytes,
    result: bytes,
    before: Sequence[bytes] = (),
    code: str = "",
    tenant: str = "default",
    counters: Mapping[str, int] | None = None,
    bill: str = "",
) -> bool:
    """End the job in `state`, with `event` (the `end`) as number `seq` of its log, and the events `before` as those that
    precede it. `bill` is what its calls have cost (`fragments/bill.lua`). Returns True for the first such call.

    It is accepted after the lease has expired too, unless a newer attempt began: a paid answer is not lost. Raises
    `Fenced`, `Closed` when it ended otherwise, `Gap` when events before those are missing.
    """
    if state not in TERMINAL:
        raise ValueError(f"{state} is not a terminal state")
    keys = ledger.keys
    (first,) = await ledger.run(
        "finish",
        job_id,
        {
            "job": keys.job(job_id),
            "log": keys.log(keys.job(job_id)),
            "result_key": keys.result(keys.job(job_id)),
            "due": keys.due,
            "leases": keys.leases,
            "spend": keys.spend(tenant),
        },
        {
            "id": job_id,
            "epoch": epoch,
            "state": state,
            "code": code,
            "result": result,
            "seq": seq,
            "event": event,
            "count": len(before),
            "channel": keys.channel(keys.job(job_id)),
            "keep_ms": TOMBSTONE_MS,
            "bill": bill,
        },
        [*before, *(part for name, value in (counters or {}).items() for part in (name, value))],
    )
    return first == b"first"
