"""Beat: the heartbeat of a process renews the leases of all its records, and returns which of them are cancelled, paused or
lost."""

from __future__ import annotations

from collections.abc import Container, Mapping

from headrace.ledger.claim import LEASE_MS
from headrace.ledger.script import Ledger
from headrace.ledger.stop_reason import StopReason

BEAT_S = 0.5


async def beat(
    ledger: Ledger,
    held: Mapping[str, int],
    *,
    process: str = "",
    flights: Mapping[str, int | None] | None = None,
    risks: Mapping[str, str] | None = None,
    unbudgeted: Container[str] = (),
    lease_ms: int = LEASE_MS,
) -> dict[str, StopReason]:
    """Renew the leases of `held` (record id → epoch). Returns the reasons why attempts have to stop, by the id of their
    record; the others are renewed.

    `process` is the name under which this process counts as alive. `flights` are the calls that each record has in flight
    (default one; None: as many as it may have): should the process crash, evidence is shared among that many. `risks` are then
    the calls whose cost nobody will hear of, and what they cost at most in nano-USD: `3 120000`. The attempts at `unbudgeted`
    shards keep no budget: they have to stop when one was set.
    """
    if not held and not process:
        return {}
    flights = flights or {}
    rest: list[str | bytes | int] = []
    for record_id, epoch in held.items():
        flight = flights.get(record_id, 1)
        risk, keeps_none = (risks or {}).get(record_id, ""), int(record_id in unbudgeted)
        rest += (record_id, epoch, "" if flight is None else flight, risk, keeps_none)
    answers = await ledger.run(
        "beat",
        "beat",
        {"leases": ledger.keys.leases, "processes": ledger.keys.processes},
        {"prefix": ledger.keys.prefix, "lease_ms": lease_ms, "process": process},
        rest,
    )
    return {
        record_id: StopReason(answer.decode())
        for record_id, answer in zip(held, answers, strict=True)
        if answer != b"OK"
    }
