"""A limit for calls as a whole: each ends when its own time is over, and for no other reason."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from headrace_providers.wire.idle_deadline import IdleDeadline
from headrace_providers.wire.total_deadline import TotalDeadline


async def test_ends_a_call_that_takes_too_long() -> None:
    deadline = TotalDeadline(0.01)
    with pytest.raises(TimeoutError), deadline.call() as call:
        await call.within(asyncio.Event().wait)
    assert not asyncio.current_task().cancelling()


async def test_each_of_many_ends_in_its_own_time() -> None:
    deadline, loop = TotalDeadline(0.05), asyncio.get_running_loop()

    async def call() -> float:
        began = loop.time()
        with pytest.raises(TimeoutError), deadline.call() as limited:
            await limited.within(asyncio.Event().wait)
        return loop.time() - began

    async with asyncio.TaskGroup() as group:
        calls = []
        for _ in range(5):
            calls.append(group.create_task(call()))
            await asyncio.sleep(0.01)
    assert all(each.result() >= 0.05 for each in calls)


async def test_a_call_that_is_over_in_time_is_left_alone() -> None:
    deadline = TotalDeadline(0.01)
    with deadline.call():
        pass
    with pytest.raises(TimeoutError), deadline.call() as call:  # the timer of the first goes on for the second
        await call.within(asyncio.Event().wait)


async def test_what_lies_between_two_waits_counts_and_is_not_cancelled() -> None:
    deadline = TotalDeadline(0.01)
    with deadline.call() as call:
        assert await call.within(lambda: asyncio.sleep(0, "in time")) == "in time"
        await asyncio.sleep(0.05)  # here it would be cancelled
        with pytest.raises(TimeoutError):
            await call.within(lambda: asyncio.sleep(0))
    assert not asyncio.current_task().cancelling()


async def test_a_limit_within_it_that_ends_at_once_leaves_one_end() -> None:
    deadline, idle = TotalDeadline(0.01), IdleDeadline(0.01)
    with pytest.raises(TimeoutError), deadline.call() as call:
        await call.within(lambda: idle.within(asyncio.Event().wait))
    assert not asyncio.current_task().cancelling()
    idle.close()


async def test_another_cancellation_stays_one() -> None:
    deadline = TotalDeadline(60)
    begun = asyncio.Event()

    async def call() -> None:
        with deadline.call() as limited:
            begun.set()
            await limited.within(asyncio.Event().wait)

    task = asyncio.create_task(call())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_beside_the_end_of_its_time_stays_one() -> None:
    deadline = TotalDeadline(0.01)

    async def call() -> None:
        with deadline.call() as limited:
            await limited.within(cancelled_twice)

    async def cancelled_twice() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asyncio.current_task().cancel()
            raise

    task = asyncio.create_task(call())
    with pytest.raises(asyncio.CancelledError):
        await task


def test_serves_one_loop_after_another_and_keeps_none() -> None:
    deadline = TotalDeadline(0.01)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def call() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        with pytest.raises(TimeoutError), deadline.call() as limited:
            await limited.within(asyncio.Event().wait)

    asyncio.run(call())
    asyncio.run(call())
    gc.collect()
    assert loops[0]() is None
