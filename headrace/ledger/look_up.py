"""Look up: the cached answers to a group of questions, and for the others who is to answer them: single-flight over all
processes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from headrace.ledger.claim import LEASE_MS
from headrace.ledger.script import Ledger

FLIGHT_MS = 15 * 60_000
"""Milliseconds after which a question that is still being answered may be asked beside it: longer than any call."""


class Flight(StrEnum):
    """The one who answers a question that has no cached answer."""

    LEAD = "lead"
    """The caller: until its answer is kept, or it leaves, the others wait."""
    WAIT = "wait"
    """Another one, whose process is alive."""
    NONE = "none"
    """Everybody for themselves: the caller did not want to lead, or the last answer was none that others can be given."""


async def look_up(
    ledger: Ledger,
    asked: Sequence[tuple[str, str]],
    *,
    process: str,
    ttl_ms: int,
    lease_ms: int = LEASE_MS,
    flight_ms: int = FLIGHT_MS,
) -> list[bytes | Flight]:
    """Return the cached answer to each question (its sha, and the record that would answer it; an empty one only looks), or who
    answers it. Idempotent.

    Who leads counts as alive as long as its `process` renews (`still_calling`), and gives the question back with `keep_answers`.
    """
    replies = await ledger.run(
        "look_up",
        "the answer cache",
        {"use": ledger.keys.cache_use},
        {
            "prefix": ledger.keys.prefix,
            "process": process,
            "lease_ms": lease_ms,
            "flight_ms": flight_ms,
            "ttl_ms": ttl_ms,
        },
        [part for question in asked for part in question],
    )
    return [Flight(reply.decode()) if len(reply) == FLIGHT_CHARS else reply for reply in replies]


FLIGHT_CHARS = 4
"""The length of every word of `Flight`; an answer is longer."""
