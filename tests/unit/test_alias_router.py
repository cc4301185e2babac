"""The order of an alias's deployments: priority, weight, load; and what a damaged routing is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from headrace_worker.engine.alias_router import AliasRouter
from headrace_worker.engine.fallbacks import opens_breaker
from headrace_worker.limits.circuit_breakers import CircuitBreakers

from headrace.chat.routing import Routing, check_routing
from headrace.errors import CallError, InputError
from headrace.ledger.script import Ledger

MODELS = ["a/x", "b/x", "c/x"]


def router(**words: Any) -> AliasRouter:
    return AliasRouter(words.get("breakers"), lambda model: None)


def firsts(routing: Routing, count: int, free: list[str] = MODELS) -> Counter[str]:
    one = router()
    return Counter(one.order(routing, MODELS, free)[0] for _ in range(count))


def test_without_a_routing_the_order_is_the_jobs() -> None:
    assert router().order(None, MODELS, ["c/x", "b/x"]) == ["c/x", "b/x"]


def test_calls_are_divided_by_weight_exactly_and_without_lumps() -> None:
    routing = Routing([5, 3, 2], [0, 0, 0])
    assert firsts(routing, 1000) == {"a/x": 500, "b/x": 300, "c/x": 200}
    one = router()
    row = [one.order(routing, MODELS, MODELS)[0] for _ in range(10)]
    assert Counter(row) == {"a/x": 5, "b/x": 3, "c/x": 2}
    assert "a/xa/xa/x" not in "".join(row)


def test_one_that_is_not_free_leaves_its_part_to_the_others_by_their_weights() -> None:
    assert firsts(Routing([5, 3, 1], [0, 0, 0]), 400, ["b/x", "c/x"]) == {"b/x": 300, "c/x": 100}


def test_a_lower_priority_is_asked_only_after_the_higher() -> None:
    routing = Routing([1, 1, 100], [1, 0, 2])
    one = router()
    assert {tuple(one.order(routing, MODELS, MODELS)) for _ in range(20)} == {("b/x", "a/x", "c/x")}
    assert one.order(routing, MODELS, ["c/x", "a/x"]) == ["a/x", "c/x"]


def test_whom_has_fewest_calls_for_its_weight_is_asked_first() -> None:
    one, routing = router(), Routing([2, 1, 1], [0, 0, 0], "least_busy")
    taken: Counter[str] = Counter()
    for _ in range(40):
        model = one.order(routing, MODELS, MODELS)[0]
        one.begin(model)
        taken[model] += 1
    assert taken == {"a/x": 20, "b/x": 10, "c/x": 10}
    for _ in range(10):
        one.end("c/x")
    assert one.order(routing, MODELS, MODELS)[0] == "c/x"


@pytest.mark.parametrize(
    "routing",
    [
        Routing([1], [0, 0]),
        Routing([1, 1, 1], [0, 0, 0]),
        Routing([0, 1], [0, 0]),
        Routing([1, 1001], [0, 0]),
        Routing([1, 1], [0, -1]),
        Routing([1, 1], [0, 101]),
    ],
)
def test_a_routing_that_is_not_of_these_models_is_refused(routing: Routing) -> None:
    with pytest.raises(InputError, match="routing"):
        check_routing(routing, MODELS[:2])


@pytest.mark.parametrize(
    ("code", "opens"),
    [
        *(
            (code, True)
            for code in ("provider_unavailable", "timeout", "connection", "provider_error", "incomplete_stream")
        ),
        *(
            (code, False)
            for code in ("invalid_request", "rate_limited", "auth", "not_found", "invalid_output", "refusal")
        ),
    ],
)
def test_faults_of_the_provider_alone_open_its_breaker(code: str, opens: bool) -> None:
    assert opens_breaker(CallError(code, "x")) is opens


async def test_while_redis_is_away_a_process_keeps_a_breaker_of_its_own() -> None:
    now = [0.0]
    away = Ledger.at("redis://127.0.0.1:1", retries=0)
    breakers = CircuitBreakers(away, "p", clock=lambda: now[0])
    for _ in range(5):
        assert breakers.wait_s("s") is None
        await breakers.failed("s", "a/x", "")
    assert breakers.wait_s("s") == 5.0
    now[0] = 6.0
    assert breakers.wait_s("s") == 0.0
    probe = await breakers.probe("s")
    assert probe
    assert breakers.wait_s("s") == 5.0, "the next one waits for what becomes of it"
    breakers.answered("s", "a/x", probe)
    assert breakers.wait_s("s") is None
    await asyncio.sleep(0)
    await away.close()


async def test_two_processes_hear_of_each_other(valkey_url: str, namespace: str) -> None:
    ledger = Ledger.at(valkey_url, namespace)
    one, other = CircuitBreakers(ledger, "one"), CircuitBreakers(ledger, "other")
    for _ in range(3):
        await one.failed("s", "a/x", "")
        await other.failed("s", "a/x", "")
    assert one.wait_s("s")
    assert other.wait_s("s")
    late = CircuitBreakers(ledger, "late")
    late.on_confirmed()
    async with asyncio.timeout(10):
        while late.wait_s("s") is None:
            await asyncio.sleep(0.01)
    other.on_message(b"closed s")
    assert other.wait_s("s") is None
    other.on_message(b"open s 700")
    assert other.wait_s("s")
    await ledger.client.flushdb()
    await ledger.close()
