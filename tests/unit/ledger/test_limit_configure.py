"""Workers say what they were configured with: the strictest holds, and what differs is known."""

from __future__ import annotations

from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.script import Ledger

SCOPE = "rehearsal.0"
LONG = 10**9


async def test_the_strictest_holds_and_a_difference_is_told(ledger: Ledger) -> None:
    a = LimitScope(SCOPE, "rehearsal", requests=600, tokens=1000)
    (said,) = await limit_configure(ledger, "a", [a], life_ms=LONG)
    assert said == a
    (said,) = await limit_configure(ledger, "b", [LimitScope(SCOPE, "rehearsal", requests=900, in_flight=5)])
    assert said == LimitScope(SCOPE, "rehearsal", 600, 1000, 5, differ=True)
    (heard,) = await limit_configure(ledger, "c", [])
    assert heard == said


async def test_what_an_ended_worker_said_is_forgotten(ledger: Ledger) -> None:
    a, b = LimitScope(SCOPE, "rehearsal", requests=600), LimitScope(SCOPE, "rehearsal", requests=900)
    await limit_configure(ledger, "a", [a], life_ms=LONG)
    await limit_configure(ledger, "b", [b], life_ms=LONG)
    assert await limit_configure(ledger, "a", [a], life_ms=0) == [b]
    await ledger.client.hset(ledger.keys.limit(SCOPE), "c:b", "1 900 0 0")  # it died, and its time is over
    assert await limit_configure(ledger, "c", []) == [LimitScope(SCOPE, "rehearsal")]


async def test_a_scope_that_is_gone_leaves_the_list(ledger: Ledger) -> None:
    await limit_configure(ledger, "a", [LimitScope(SCOPE, "rehearsal", requests=600)])
    await ledger.client.delete(ledger.keys.limit(SCOPE))
    assert await limit_configure(ledger, "b", []) == []
    assert not await ledger.client.exists(ledger.keys.limits)
