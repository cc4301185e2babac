"""Stopping tasks: they have ended when it has, also when whoever stops them is stopped meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from headrace.waiting import stop


async def test_waits_for_the_tasks_also_when_it_is_cancelled_itself() -> None:
    may_end = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

    task = asyncio.create_task(slow_to_end())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(stop(task))
    while not task.cancelling():
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.sleep(0)
    assert not stopping.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert task.done()


async def test_a_cancellation_that_gets_lost_is_repeated() -> None:
    lost = 0

    async def deaf_at_first() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf_at_first())
    await asyncio.sleep(0)
    await stop(task, None)
    assert task.cancelled()
