"""A probe's answer closes the breaker; that of a call from before does not."""

from __future__ import annotations

from headrace.ledger.breaker_close import breaker_close
from headrace.ledger.breaker_fail import BreakerState, breaker_fail
from headrace.ledger.breaker_probe import breaker_probe
from headrace.ledger.breaker_record import open_breakers
from headrace.ledger.script import Ledger

SCOPE = "openai.0"


async def test_the_answer_of_a_probe_closes_it_however_late(ledger: Ledger) -> None:
    await breaker_fail(ledger, SCOPE, "openai/gpt", process="a", failures=5, interval_ms=0)
    await breaker_probe(ledger, SCOPE, token="slow")
    await breaker_probe(ledger, SCOPE, token="next")
    assert await breaker_close(ledger, SCOPE, process="b", probe="slow") == BreakerState("closed")
    assert await open_breakers(ledger) == []
    assert await breaker_close(ledger, SCOPE, process="b", probe="slow") == BreakerState("closed")
    assert (await breaker_fail(ledger, SCOPE, "openai/gpt", process="a", failures=1)).state == "closed"


async def test_an_answer_from_before_it_opened_says_nothing(ledger: Ledger) -> None:
    await breaker_fail(ledger, SCOPE, "openai/gpt", process="a", failures=5)
    assert (await breaker_close(ledger, SCOPE, process="b")).state == "open"
    (record,) = await open_breakers(ledger)
    assert record.wait_ms > 0
