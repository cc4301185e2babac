"""Beat: one call keeps every record of a process, and brings back which of them are cancelled, paused or lost."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.ledger.claim import LEASE_MS
from headrace.ledger.script import Ledger

BEAT_S = 0.5


async def beat(ledger: Ledger, held: Mapping[str, int], *, lease_ms: int = LEASE_MS) -> dict[str, str]:
    """Renew the leases of `held` (record id → epoch). Returns what stands against a record, by id; the others are kept.

    `CANCELLED`, `PAUSED`: stop and hand back. `FENCED`, `CLOSED`, `UNKNOWN`: stop, nothing can be written.
    """
    if not held:
        return {}
    rest = [part for record_id, epoch in held.items() for part in (record_id, epoch)]
    answers = await ledger.run(
        "beat",
        "beat",
        {"leases": ledger.keys.leases},
        {"prefix": ledger.keys.prefix, "lease_ms": lease_ms},
        rest,
    )
    return {record_id: answer.decode() for record_id, answer in zip(held, answers, strict=True) if answer != b"OK"}
