"""Due: queued records whose hint may be lost, and parked ones whose time has come."""

from __future__ import annotations

from collections.abc import Callable

from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.queues import QUEUES
from headrace.ledger.script import Ledger

EXPIRED = "expired"
"""In place of a queue: the job is past its deadline and has to be ended (`expire`)."""
FIRST_WAIT_MS = 3_000
MAX_WAIT_MS = 300_000


async def due(
    ledger: Ledger,
    *,
    limit: int = 500,
    first_wait_ms: int = FIRST_WAIT_MS,
    longest_wait_ms: int = MAX_WAIT_MS,
    on_damage: Callable[[str, str], None] = lambda name, why: None,
) -> list[tuple[str, str]]:
    """Return at most `limit` hints to publish again: `(queue, record id)`. The wait before a record's next hint doubles
    each time (exponential backoff). `EXPIRED` in place of the queue is no hint.

    Damaged records among them are set aside, and `on_damage` is called with the name and the reason.
    """
    flat = await ledger.run(
        "due",
        "due",
        {"due": ledger.keys.due},
        {
            "prefix": ledger.keys.prefix,
            "limit": limit,
            "first_wait_ms": first_wait_ms,
            "longest_wait_ms": longest_wait_ms,
            "queues": " ".join(QUEUES),
        },
    )
    damaged = [name for queue, name in zip(flat[::2], flat[1::2], strict=True) if not queue]
    for name, why in await evict_damaged(ledger, damaged, where="due"):
        on_damage(name, why)
    return hints(flat)


def hints(flat: list[bytes]) -> list[tuple[str, str]]:
    """Return the `(queue, record id)` pairs in a reply; pairs without a queue, or with a malformed id, are skipped."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(queue.decode(), name.decode()) for queue, name in pairs if queue and queue.isascii() and name.isascii()]
