"""Limits as they are shown: configured and learnt, used in the last minute, held; and nothing that is damaged."""

from __future__ import annotations

from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_hold import limit_hold
from headrace.ledger.limit_learn import limit_learn
from headrace.ledger.limit_record import limit_records, record_of
from headrace.ledger.limit_take import limit_take
from headrace.ledger.script import Ledger


async def test_shows_what_holds_and_what_is_used(ledger: Ledger) -> None:
    scope = LimitScope("openai.0", "openai", requests=600, in_flight=9)
    await limit_configure(ledger, "a", [scope])
    await limit_configure(ledger, "b", [LimitScope("openai.0", "openai", requests=900)])
    await limit_learn(ledger, "openai.1", "openai/m", tokens=9_000)
    await limit_take(ledger, "openai.0", "openai.1", [5, 6], process="a", token="t", call_class="interactive")
    await limit_hold(ledger, "openai.0", "openai", wait_ms=60_000, reason="openai says wait 60 s", process="a")
    deployment, model = await limit_records(ledger)
    assert (deployment.name, deployment.configured) == ("openai", {"requests": 600, "in_flight": 9})
    assert (deployment.configurations, deployment.requests, deployment.tokens) == (2, 2, 11)
    assert deployment.in_flight == 2
    assert 59 <= deployment.held_s <= 60
    assert deployment.reason == "openai says wait 60 s"
    assert (model.name, model.configured, model.learnt) == ("openai/m", {}, {"tokens": 9_000})


def test_the_last_minute_has_a_part_of_the_one_before() -> None:
    stored = {b"minute": b"10", b"calls": b"30", b"calls_before": b"60"}
    assert record_of("x", stored, 10 * 60_000 + 15_000).requests == 30 + 45
    assert record_of("x", stored, 11 * 60_000 + 15_000).requests == 22
    assert record_of("x", stored, 12 * 60_000).requests == 0


async def test_damage_is_left_out(ledger: Ledger) -> None:
    await limit_configure(ledger, "a", [LimitScope("s.0", "s", requests=6)])
    await ledger.client.hset(ledger.keys.limit("s.0"), mapping={"hold": "x", "p:b": "\xff", "c:c": "", "minute": "-3"})
    await ledger.client.hset(ledger.keys.limits, "gone", "gone")
    (record,) = await limit_records(ledger)
    assert (record.name, record.configured, record.held_s) == ("s", {"requests": 6}, 0)
