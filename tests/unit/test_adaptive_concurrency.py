"""Adaptive concurrency: nothing is bounded before a refusal, halved after one, and grown again by answers."""

from __future__ import annotations

import asyncio

import pytest
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.limits.adaptive_concurrency import AdaptiveConcurrency, AdaptivePlace

from headrace.errors import CallError

BUSY = CallError("provider_unavailable", "503", status=503)
WRONG = CallError("invalid_request", "400", status=400)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def places(concurrency: AdaptiveConcurrency, count: int) -> list[AdaptivePlace]:
    return [await concurrency.enter(patient=True) for _ in range(count)]


async def test_refusals_of_calls_in_flight_together_halve_once() -> None:
    clock = Clock()
    concurrency = AdaptiveConcurrency("openai", 256, clock=clock)
    held = await places(concurrency, 40)
    clock.now += 1
    for place in held:
        place.failed(BUSY)
    assert concurrency.limit == 20
    clock.now += 5
    held[0].failed(BUSY)  # begun before the limit fell
    assert concurrency.limit == 20
    for place in held:
        place.close()
    (later,) = await places(concurrency, 1)
    clock.now += 5
    later.failed(BUSY)
    assert concurrency.limit == 1


async def test_a_callers_own_fault_changes_nothing() -> None:
    concurrency = AdaptiveConcurrency("openai", 256)
    (place,) = await places(concurrency, 1)
    place.failed(WRONG)
    assert concurrency.limit == 256


async def test_answers_let_it_grow_by_one_a_round_until_it_bounds_nothing() -> None:
    clock = Clock()
    concurrency = AdaptiveConcurrency("openai", 12, clock=clock)
    held = await places(concurrency, 8)
    held[0].failed(BUSY)
    assert concurrency.limit == 4
    for place in held[:4]:
        place.answered()
    assert 4.9 < concurrency.limit <= 5
    for _ in range(200):
        held[0].answered()
    assert concurrency.limit == 12


async def test_who_waits_gets_the_next_place_or_is_sent_away() -> None:
    clock = Clock()
    concurrency = AdaptiveConcurrency("openai", 8, clock=clock)
    held = await places(concurrency, 4)
    held[0].failed(BUSY)
    for place in held[:2]:
        place.close()
    waiter = asyncio.create_task(concurrency.enter(patient=True))
    await asyncio.sleep(0)
    assert not waiter.done()
    held[2].close()
    await asyncio.wait_for(waiter, 5)
    await concurrency.enter(patient=True) if concurrency._in_flight < 2 else None
    hasty = asyncio.create_task(concurrency.enter(patient=False))
    await asyncio.sleep(0)
    clock.now += 3
    concurrency._wake(1)
    with pytest.raises(Deferred) as away:
        await asyncio.wait_for(hasty, 5)
    assert away.value.reason == "rate_limited"
    patient = asyncio.create_task(concurrency.enter(patient=True))
    await asyncio.sleep(0)
    concurrency.drain()
    with pytest.raises(Deferred) as drained:
        await asyncio.wait_for(patient, 5)
    assert drained.value.reason == DRAINING
