"""Learnt limits hold beside the configured ones, for a time; the stricter counts."""

from __future__ import annotations

from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_learn import limit_learn
from headrace.ledger.limit_take import limit_take
from headrace.ledger.script import Ledger

SCOPE = "openai.0"


async def test_a_learnt_limit_is_new_once_and_the_stricter_counts(ledger: Ledger) -> None:
    assert await limit_learn(ledger, SCOPE, "openai", requests=500, tokens=0)
    assert not await limit_learn(ledger, SCOPE, "openai", requests=500)
    assert await limit_learn(ledger, SCOPE, "openai", requests=400, tokens=9_000)
    (scope,) = await limit_configure(ledger, "p", [LimitScope(SCOPE, "openai", requests=100)])
    assert (scope.requests, scope.tokens) == (100, 9_000)


async def test_a_learnt_limit_ends(ledger: Ledger) -> None:
    await limit_learn(ledger, SCOPE, "openai", requests=500, life_ms=-1)
    (scope,) = await limit_configure(ledger, "p", [])
    assert scope.requests == 0


async def test_when_nothing_is_left_the_next_call_waits(ledger: Ledger) -> None:
    await limit_learn(ledger, SCOPE, "openai", requests=60_000, empty_requests_ms=30_000)
    granted = await limit_take(ledger, SCOPE, SCOPE, [1], process="p", token="t", call_class="interactive")
    assert granted.count == 0
    assert 29e6 < granted.wait_us <= 30e6
