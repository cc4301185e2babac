"""Lead: the lease of the leader, the one process that runs maintenance."""

from __future__ import annotations

from headrace import errors
from headrace.ledger.script import Ledger

LEADER_MS = 5_000


async def lead(ledger: Ledger, process: str, *, lease_ms: int = LEADER_MS) -> bool:
    """Take or renew the leader's lease for `lease_ms`; return False while another process has it."""
    try:
        await ledger.run("lead", process, {"leader": ledger.keys.leader}, {"process": process, "lease_ms": lease_ms})
    except errors.Busy:
        return False
    return True
