"""Show: a viewer that cannot take back what it was sent is about to be sent a part of an attempt's answer.

From then on no other attempt follows: `restart` is refused, and whatever would begin one ends the job instead.
"""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def show(ledger: Ledger, job_id: str, epoch: int) -> None:
    """Note that a part of the attempt `epoch` is shown. Idempotent.

    Raises `Fenced` when a newer attempt has begun, so that nothing of this one may be shown any more, and `Unknown`.
    """
    await ledger.run("show", job_id, {"job": ledger.keys.job(job_id)}, {"epoch": epoch})
