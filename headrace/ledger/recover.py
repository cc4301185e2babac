"""Recover: leases that ran out are crashes; their records are queued again, put into quarantine, or dead."""

from __future__ import annotations

from headrace.hint import QUARANTINE
from headrace.ledger.due import hints
from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.script import Ledger
from headrace.ledger.submit import GRACE_MS

CRASHES_ALLOWED = 2
LOSSES_ALLOWED = 4


async def recover(ledger: Ledger, *, limit: int = 500) -> list[tuple[str, str]]:
    """Take back at most `limit` records whose lease has run out. Returns the hints to publish: `(queue, record id)`.

    Not to be called within one lease of a restart of the server, nor of one's own reconnect: those whose link was cut
    must have the time to beat.
    """
    flat = await ledger.run(
        "recover",
        "recover",
        {"leases": ledger.keys.leases, "due": ledger.keys.due},
        {
            "prefix": ledger.keys.prefix,
            "limit": limit,
            "grace_ms": GRACE_MS,
            "crashes_allowed": CRASHES_ALLOWED,
            "losses_allowed": LOSSES_ALLOWED,
            "quarantine": QUARANTINE,
            "result": b'{"code":"worker_lost","message":"its worker died on it twice while it ran alone"}',
            "event": b'{"t":"end","status":"dead","error":{"code":"worker_lost"}}',
            "keep_ms": TOMBSTONE_MS,
        },
    )
    return hints(flat)
