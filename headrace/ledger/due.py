"""Due: what is queued and whose hint may be lost, and what is parked and whose time has come."""

from __future__ import annotations

from collections.abc import Callable

from headrace.ledger.queues import QUEUES
from headrace.ledger.script import Ledger
from headrace.ledger.set_aside import set_aside

EXPIRED = "expired"
"""In place of a queue: the job is past its deadline, and is to be ended (`expire`)."""
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
    """Return at most `limit` hints to publish again: `(queue, record id)`. Each waits twice as long for its next one.
    `EXPIRED` in place of the queue is no hint.

    What is damaged among them is set aside, and told to `on_damage`: its name, and why.
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
    for name, why in await set_aside(ledger, damaged, where="due"):
        on_damage(name, why)
    return hints(flat)


def hints(flat: list[bytes]) -> list[tuple[str, str]]:
    """Return `(queue, record id)` of a reply that lists them; pairs without a queue, or with an id that is none, are
    left out."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(queue.decode(), name.decode()) for queue, name in pairs if queue and queue.isascii() and name.isascii()]
