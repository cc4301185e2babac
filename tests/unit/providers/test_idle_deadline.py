"""A limit for each wait of a stream: by a clock that the tests turn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from headrace_providers.wire.idle_deadline import IdleDeadline

LIMIT_S = 60.0


class Clock:
    def __init__(self, now: float):
        self.now = now

    async def turn(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that is due then."""
        self.now += seconds
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time())
    monkeypatch.setattr(loop, "time", lambda: clock.now)
    return clock


@pytest.fixture
async def deadline(clock: Clock) -> AsyncIterator[IdleDeadline]:
    deadline = IdleDeadline(LIMIT_S)
    yield deadline
    deadline.close()


async def waiting(deadline: IdleDeadline, event: asyncio.Event) -> str:
    await deadline.within(event.wait)
    return "came"


async def test_a_wait_ends_at_the_limit(clock: Clock, deadline: IdleDeadline) -> None:
    task = asyncio.create_task(waiting(deadline, asyncio.Event()))
    await clock.turn(0)
    await clock.turn(LIMIT_S - 1)
    assert not task.done()
    await clock.turn(1)
    assert isinstance(task.exception(), TimeoutError)
    assert task.cancelling() == 0


async def test_only_waiting_counts_and_each_wait_anew(clock: Clock, deadline: IdleDeadline) -> None:
    for _ in range(3):
        event = asyncio.Event()
        task = asyncio.create_task(waiting(deadline, event))
        await clock.turn(0)
        await clock.turn(LIMIT_S - 1)
        event.set()
        assert await task == "came"
        await clock.turn(5 * LIMIT_S)
    task = asyncio.create_task(waiting(deadline, asyncio.Event()))
    await clock.turn(0)
    await clock.turn(LIMIT_S - 1)
    assert not task.done()
    await clock.turn(1)
    assert isinstance(task.exception(), TimeoutError)


async def test_does_not_count_the_time_between_two_waits(clock: Clock, deadline: IdleDeadline) -> None:
    first, between, second = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def use() -> str:
        await waiting(deadline, first)
        await between.wait()
        return await waiting(deadline, second)

    task = asyncio.create_task(use())
    for event in (first, between, second):
        await clock.turn(0)
        await clock.turn(5 * LIMIT_S if event is between else LIMIT_S - 1)
        event.set()
    assert await task == "came"


async def test_nothing_is_left_of_it_once_it_is_closed(clock: Clock) -> None:
    deadline = IdleDeadline(LIMIT_S)
    deadline.change(1.0)
    deadline.close()
    left = weakref.ref(deadline)
    del deadline
    gc.collect()
    assert left() is None


async def test_another_limit_holds_from_the_next_wait_on(clock: Clock, deadline: IdleDeadline) -> None:
    deadline.change(1.0)
    task = asyncio.create_task(waiting(deadline, asyncio.Event()))
    await clock.turn(0)
    await clock.turn(1.0)
    assert isinstance(task.exception(), TimeoutError)


@pytest.mark.parametrize("late_s", [0.0, LIMIT_S])
async def test_cancellation_is_no_timeout(clock: Clock, deadline: IdleDeadline, late_s: float) -> None:
    task = asyncio.create_task(waiting(deadline, asyncio.Event()))
    await clock.turn(0)
    task.cancel()
    await clock.turn(late_s)
    assert task.cancelled()


async def test_an_outer_limit_that_ends_first_is_told_as_its_own(clock: Clock, deadline: IdleDeadline) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S / 2):
            await waiting(deadline, asyncio.Event())

    task = asyncio.create_task(bounded())
    await clock.turn(0)
    await clock.turn(LIMIT_S / 2)
    assert isinstance(task.exception(), TimeoutError)
    assert task.cancelling() == 0


async def test_a_wait_that_outlives_its_cancellation_leaves_none(clock: Clock, deadline: IdleDeadline) -> None:
    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "all the same"

    async def wait() -> tuple[str, str]:
        return await deadline.within(stubborn), await deadline.within(stubborn)

    task = asyncio.create_task(wait())
    await clock.turn(0)
    await clock.turn(LIMIT_S)
    await clock.turn(LIMIT_S)
    assert await task == ("all the same", "all the same")
    assert task.cancelling() == 0
