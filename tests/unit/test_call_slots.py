"""Slots: bounded, oldest first, and none gets lost when a waiter is cancelled."""

from __future__ import annotations

import asyncio
import random

from headrace_worker.engine.call_slots import Slots


async def test_the_lowest_rank_goes_first_and_equals_in_order() -> None:
    slots, order = Slots(1), []

    async def one(rank: int, name: str) -> None:
        async with slots.hold(rank):
            order.append(name)
            await asyncio.sleep(0)

    async with slots.hold(0):
        waiting = [asyncio.create_task(one(*each)) for each in ((3, "c"), (1, "a"), (2, "b1"), (2, "b2"))]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == ["a", "b1", "b2", "c"]


async def test_no_slot_is_lost_or_made_by_cancelled_waiters() -> None:
    slots, held, most = Slots(5), 0, 0
    chance = random.Random(7)

    async def one(rank: int) -> None:
        nonlocal held, most
        async with slots.hold(rank):
            held += 1
            most = max(most, held)
            try:
                await asyncio.sleep(0)
            finally:
                held -= 1

    tasks = [asyncio.create_task(one(chance.randrange(9))) for _ in range(400)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 5
    assert held == 0
    for _ in range(5):  # all five are there again
        await asyncio.wait_for(slots.take(0), 1)
    assert slots._free == 0


async def test_a_slot_handed_to_a_waiter_that_is_cancelled_in_the_same_moment_comes_back() -> None:
    slots = Slots(1)
    await slots.take(0)
    waiter = asyncio.create_task(slots.take(1))
    await asyncio.sleep(0)
    slots.give()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert slots._free == 1
