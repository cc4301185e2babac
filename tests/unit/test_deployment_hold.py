"""The hold of a deployment: one call goes first, the rest follow it, and nobody who waits is forgotten. Time is steered."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from headrace_worker.engine.deployment_hold import (
    DRAINING,
    MAX_PROBE_WAITERS,
    MAX_UNPROVEN,
    MAX_WAIT_S,
    RETURNS_PER_S,
    Deferred,
    DeploymentHold,
    DeploymentHolds,
    HeldCall,
)

from headrace.errors import CallError


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(retry_after_s: float | None = None) -> CallError:
    return CallError("rate_limited", "too many", status=429, retry_after_s=retry_after_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hold(clock: Clock) -> DeploymentHold:
    """Its jitter is always the most there is."""
    return DeploymentHold("openai", clock=clock, jitter=lambda low, high: high)


async def refuse(hold: DeploymentHold, failure: CallError) -> None:
    call = await hold.enter()
    call.failed(failure)
    call.leave()


async def test_after_a_429_nobody_calls_until_its_time_is_over(hold: DeploymentHold, clock: Clock) -> None:
    await refuse(hold, limited(30))
    with pytest.raises(Deferred) as deferred:
        await hold.enter()
    assert str(deferred.value) == "rate_limited: openai says wait 30 s"
    assert 30 <= deferred.value.delay_s <= 34
    clock.now += 29
    with pytest.raises(Deferred):
        await hold.enter()
    clock.now += 1
    assert (await hold.enter()).probe


async def test_the_rest_follow_when_the_probe_succeeds(hold: DeploymentHold, clock: Clock) -> None:
    await refuse(hold, limited(1))
    clock.now += 1
    probe = await hold.enter()
    rest = [asyncio.create_task(hold.enter()) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in rest)
    probe.answered()
    probe.leave()
    assert not any(call.probe or call.void for call in await asyncio.gather(*rest))


async def test_a_probe_that_is_refused_holds_longer(hold: DeploymentHold, clock: Clock) -> None:
    await refuse(hold, limited(1))
    waits = []
    for _ in range(9):
        clock.now += 1000
        await refuse(hold, limited(1))
        with pytest.raises(Deferred) as deferred:
            await hold.enter()
        waits.append(deferred.value.delay_s)
    assert waits == sorted(waits)
    assert MAX_WAIT_S + 1 <= waits[-1] <= (MAX_WAIT_S + 1) * 1.2


async def test_without_a_hint_the_wait_grows_with_full_jitter(clock: Clock) -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    hold = DeploymentHold("openai", clock=clock, jitter=jitter)
    for _ in range(8):
        await refuse(hold, limited())
        clock.now += 1000
    assert drawn == [(0, high) for high in (1, 2, 4, 8, 16, 32, 60, 60)]


async def test_a_success_begins_the_count_anew(hold: DeploymentHold, clock: Clock) -> None:
    for _ in range(5):
        await refuse(hold, limited(1))
        clock.now += 1000
    probe = await hold.enter()
    probe.answered()
    probe.leave()
    await refuse(hold, limited(1))
    with pytest.raises(Deferred) as deferred:
        await hold.enter()
    assert deferred.value.delay_s < 1.5


@pytest.mark.parametrize(
    "failure", [CallError("provider_unavailable", "500", status=500), None], ids=["500", "cancelled"]
)
async def test_when_the_probe_fails_otherwise_the_next_one_tries(
    hold: DeploymentHold, clock: Clock, failure: CallError | None
) -> None:
    await refuse(hold, limited(1))
    clock.now += 1
    probe = await hold.enter()
    rest = [asyncio.create_task(hold.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    if failure is not None:
        assert not probe.failed(failure)
    probe.leave()
    done, waiting = await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result().probe for task in done] == [True]
    for task in waiting:
        task.cancel()


async def test_calls_from_before_the_hold_neither_end_it_nor_make_it_longer(hold: DeploymentHold, clock: Clock) -> None:
    calls = [await hold.enter() for _ in range(50)]
    for call in calls[:40]:
        call.failed(limited(1))
        call.leave()
    for call in calls[40:]:
        assert call.void
        call.answered()
        call.leave()
    with pytest.raises(Deferred) as deferred:
        await hold.enter()
    assert deferred.value.delay_s <= 1.5
    clock.now += 1
    assert (await hold.enter()).probe


async def test_jobs_that_were_sent_away_come_back_one_after_the_other(clock: Clock) -> None:
    """Also over several holds; the items of a shard, which comes back once for all of them, are not counted."""
    hold = DeploymentHold("openai", clock=clock, jitter=lambda low, high: low)
    returns: list[float] = []
    for _ in range(3):
        await refuse(hold, limited(1))
        for n in range(100):
            with pytest.raises(Deferred) as deferred:
                await hold.enter(cautious=n % 2 == 1)
            if n % 2 == 0:
                returns.append(clock.now + deferred.value.delay_s)
        clock.now += 1
    gaps = [after - before for before, after in itertools.pairwise(returns)]
    assert min(gaps) >= 0.99 / RETURNS_PER_S
    assert returns[-1] - returns[0] <= 150 / RETURNS_PER_S + 1


async def test_retry_after_holds_whatever_the_status(hold: DeploymentHold) -> None:
    await refuse(hold, CallError("provider_unavailable", "503", status=503, retry_after_s=9))
    with pytest.raises(Deferred, match="provider_unavailable: openai says wait 9 s"):
        await hold.enter()


async def test_other_failures_hold_nobody(hold: DeploymentHold) -> None:
    for code in ("provider_unavailable", "timeout", "connection", "invalid_request", "auth"):
        await refuse(hold, CallError(code, "no"))
    assert not (await hold.enter()).probe


async def test_few_wait_for_the_probe_and_none_for_long(hold: DeploymentHold, clock: Clock) -> None:
    await refuse(hold, limited(1))
    clock.now += 1
    await hold.enter()
    waiting = [asyncio.create_task(hold.enter()) for _ in range(MAX_PROBE_WAITERS)]
    await asyncio.sleep(0)
    with pytest.raises(Deferred):
        await hold.enter()
    assert hold.held() is not None
    clock.now += 2.1
    hold._wake()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Deferred)


async def test_batch_items_go_a_few_at_a_time_until_it_has_answered(hold: DeploymentHold) -> None:
    calls = [await hold.enter(cautious=True) for _ in range(MAX_UNPROVEN)]
    rest = [asyncio.create_task(hold.enter(cautious=True)) for _ in range(100)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in rest)
    assert not (await hold.enter()).probe, "a job of its own is not kept"
    calls[0].leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(task.done() for task in rest) == 1
    calls[1].answered()
    await asyncio.gather(*rest)


async def test_waiting_calls_are_deferred_when_the_process_stops() -> None:
    holds = DeploymentHolds()
    hold = holds.of("openai", "https://a", "KEY")
    assert holds.of("openai", "https://a", "KEY") is hold
    assert holds.of("openai", "https://b", "KEY") is not hold
    for _ in range(MAX_UNPROVEN):
        await hold.enter(cautious=True)
    waiting = [asyncio.create_task(hold.enter(cautious=True)) for _ in range(10)]
    await asyncio.sleep(0)
    holds.drain()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Deferred)
        assert outcome.reason == DRAINING
    with pytest.raises(Deferred, match=DRAINING):
        await hold.enter(cautious=True)


@pytest.mark.parametrize("seed", range(5))
async def test_nobody_is_forgotten_whoever_is_cancelled(seed: int) -> None:
    """Callers come, fail, are limited and cancelled at random: in the end everyone who was not cancelled had a turn, and at
    no time were there more than a few before the first answer."""
    chance, clock = random.Random(seed), Clock()
    hold = DeploymentHold("openai", clock=clock, jitter=chance.uniform)
    inside: set[HeldCall] = set()
    finished = 0

    async def one() -> None:
        nonlocal finished
        while True:
            try:
                call = await hold.enter(cautious=True)
            except Deferred:
                await asyncio.sleep(0)
                continue
            inside.add(call)
            try:
                assert hold.answered or len(inside) <= MAX_UNPROVEN
                await asyncio.sleep(0)
                if call.void:
                    continue
                luck = chance.random()
                if luck < 0.2:
                    call.failed(limited(chance.choice([None, 0.1, 3.0])))
                    continue
                if luck > 0.5:
                    call.answered()
                finished += 1
                return
            finally:
                inside.discard(call)
                call.leave()

    tasks = [asyncio.create_task(one()) for _ in range(300)]
    for victim in chance.sample(tasks, 100):
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        victim.cancel()
    async with asyncio.timeout(20):
        while not all(task.done() for task in tasks):
            clock.now += 1
            await asyncio.sleep(0)
    cancelled = sum(task.cancelled() for task in tasks)
    assert finished == 300 - cancelled
    assert hold._unproven == 0
