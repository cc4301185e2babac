"""Due: what is queued and whose hint may be lost, and what is parked and whose time has come."""

from __future__ import annotations

from headrace.ledger.script import Ledger

EXPIRED = "expired"
"""In place of a queue: the job is past its deadline, and is to be ended (`expire`)."""
FIRST_WAIT_MS = 3_000
LONGEST_WAIT_MS = 300_000


async def due(
    ledger: Ledger, *, limit: int = 500, first_wait_ms: int = FIRST_WAIT_MS, longest_wait_ms: int = LONGEST_WAIT_MS
) -> list[tuple[str, str]]:
    """At most `limit` hints to publish again: `(queue, record id)`. Each waits twice as long for its next one. `EXPIRED` in
    place of the queue is no hint."""
    flat = await ledger.run(
        "due",
        "due",
        {"due": ledger.keys.due},
        {
            "prefix": ledger.keys.prefix,
            "limit": limit,
            "first_wait_ms": first_wait_ms,
            "longest_wait_ms": longest_wait_ms,
        },
    )
    return hints(flat)


def hints(flat: list[bytes]) -> list[tuple[str, str]]:
    return [(flat[i].decode(), flat[i + 1].decode()) for i in range(0, len(flat), 2)]
