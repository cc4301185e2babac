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
    assert slots._used == 5


async def test_a_slot_handed_to_a_waiter_that_is_cancelled_in_the_same_moment_comes_back() -> None:
    slots = Slots(1)
    await slots.take(0)
    waiter = asyncio.create_task(slots.take(1))
    await asyncio.sleep(0)
    slots.give()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert slots._used == 0


async def test_a_newcomer_does_not_wait_for_the_slow_calls_of_another() -> None:
    slots = Slots(16, extra=2)
    for _ in range(16):
        await slots.take(0, "a")
    waiting = [asyncio.create_task(slots.take(0, "a")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.wait_for(slots.take(0, "b"), 1)
    await asyncio.wait_for(slots.take(0, "c"), 1)
    second = asyncio.create_task(slots.take(0, "b"))
    await asyncio.sleep(0)
    assert not any(task.done() for task in (*waiting, second))
    slots.give("b")  # of its own: another slow call of theirs need not end for it
    await asyncio.wait_for(second, 1)
    slots.give("b")
    slots.give("c")
    slots.give("a")
    await asyncio.sleep(0)
    assert sum(task.done() for task in waiting) == 1
    slots.dismiss(lambda: ValueError())
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_party_that_is_alone_has_no_more_than_the_limit() -> None:
    slots = Slots(4, extra=2)
    for _ in range(4):
        await slots.take(0, "a")
    fifth = asyncio.create_task(slots.take(0, "a"))
    await asyncio.sleep(0)
    assert not fifth.done()
    slots.give("a")
    await asyncio.wait_for(fifth, 1)


async def test_waiting_parties_take_turns_by_weight() -> None:
    slots, order = Slots(1), []

    async def one(party: str, weight: int) -> None:
        async with slots.hold(0, party, weight):
            order.append(party)
            await asyncio.sleep(0)

    async with slots.hold(0):
        tasks = [asyncio.create_task(one(party, weight)) for party, weight in (("a", 1), ("b", 3)) for _ in range(40)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order[:40].count("b") == 30
