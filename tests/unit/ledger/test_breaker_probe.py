"""One probe an interval, of all workers."""

from __future__ import annotations

import asyncio

from headrace.ledger.breaker_fail import BreakerState, breaker_fail
from headrace.ledger.breaker_probe import breaker_probe
from headrace.ledger.script import Ledger

SCOPE = "openai.0"


async def opened(ledger: Ledger, *, is_due: bool) -> None:
    await breaker_fail(ledger, SCOPE, "openai/gpt", process="a", failures=5)
    if is_due:
        await ledger.client.hset(ledger.keys.breaker(SCOPE), "till", 1)


async def test_nobody_probes_before_its_time(ledger: Ledger) -> None:
    await opened(ledger, is_due=False)
    state = await breaker_probe(ledger, SCOPE, token="t")
    assert state.state == "open"
    assert 0 < state.wait_ms <= 5_000


async def test_of_all_who_ask_at_once_one_may(ledger: Ledger) -> None:
    await opened(ledger, is_due=True)
    states = await asyncio.gather(*(breaker_probe(ledger, SCOPE, token=str(number)) for number in range(20)))
    assert [state.state for state in states].count("probe") == 1
    assert {state.state for state in states} == {"probe", "open"}
    assert all(0 < state.wait_ms <= 5_000 for state in states if state.state == "open")


async def test_who_asks_again_for_a_lost_reply_is_given_the_same(ledger: Ledger) -> None:
    await opened(ledger, is_due=True)
    assert (await breaker_probe(ledger, SCOPE, token="t")).state == "probe"
    assert (await breaker_probe(ledger, SCOPE, token="t")).state == "probe"
    assert (await breaker_probe(ledger, SCOPE, token="u")).state == "open"


async def test_a_closed_breaker_needs_no_probe(ledger: Ledger) -> None:
    assert await breaker_probe(ledger, SCOPE, token="t") == BreakerState("closed")
    assert not await ledger.client.exists(ledger.keys.breaker(SCOPE))
