"""The gate of permits: blocks, turns, what is given back, and who is sent away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.limits.call_turn import CallTurn
from headrace_worker.limits.permit_gate import MAX_PERMIT_AGE_S, PermitGate

from headrace.ledger.limit_take import Granted, Settled


class Server:
    """Grants what the test says: one answer a request, then everything."""

    def __init__(self, *answers: Granted | Exception):
        self.answers = list(answers)
        self.asked: list[list[int]] = []
        self.settled: list[Settled] = []
        self.held = 0
        self.now = 100.0

    async def take(self, tokens: list[int], token: str, settled: list[Settled]) -> Granted:
        await asyncio.sleep(0)
        self.asked.append(tokens)
        answer = self.answers.pop(0) if self.answers else granted(len(tokens))
        if isinstance(answer, Exception):
            raise answer
        self.settled += settled
        return answer

    def count(self, delta: int) -> None:
        self.held += delta

    def gate(self, call_class: Any = "interactive") -> PermitGate:
        return PermitGate("rehearsal", call_class, self.take, self.count, clock=lambda: self.now)


def granted(count: int, *, wait_s: float = 0, pace_s: float = 0, reason: str = "granted", limit: int = 0) -> Granted:
    return Granted(count, int(wait_s * 1e6), int(pace_s * 1e6), reason, limit, 7)


async def test_all_who_wait_are_one_request() -> None:
    server = Server()
    gate = server.gate()
    permits = await asyncio.gather(*(gate.enter(tokens) for tokens in (5, 6, 7)))
    assert server.asked == [[5, 6, 7]]
    assert server.held == 3
    for permit in permits:
        permit.begun = True
        permit.close()
    assert server.held == 0


async def test_what_a_call_took_is_settled_and_what_was_not_used_is_given_back() -> None:
    server = Server()
    gate = server.gate()
    used, unused, unknown = await asyncio.gather(gate.enter(10), gate.enter(20), gate.enter(30))
    used.begun = unknown.begun = True
    used.used(13)
    for permit in (used, unused, unknown, unused):
        permit.close()
    await asyncio.wait_for(settled(server, 2), 5)
    assert server.settled == [Settled(7, 0, 3), Settled(7, -1, -20)]


async def settled(server: Server, count: int) -> None:
    while len(server.settled) < count:
        await asyncio.sleep(0)


async def test_a_permit_gets_stale_unless_its_call_has_begun() -> None:
    server = Server()
    permit = await server.gate().enter(1)
    assert not permit.is_stale
    server.now += MAX_PERMIT_AGE_S + 0.01
    assert permit.is_stale
    permit.begun = True
    assert not permit.is_stale


async def test_a_waiter_that_is_cancelled_gives_its_permit_back() -> None:
    server = Server()
    gate = server.gate()
    waiter = asyncio.create_task(gate.enter(4))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await asyncio.wait_for(settled(server, 1), 5)
    assert (server.settled, server.held) == ([Settled(7, -1, -4)], 0)


async def test_who_would_wait_for_long_is_sent_away_with_the_time_of_its_own_turn() -> None:
    server = Server(granted(1, wait_s=1, pace_s=1, reason="requests", limit=60))
    gate = server.gate()
    calls = [asyncio.create_task(gate.enter(1)) for _ in range(5)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    sent_away = [end for end in ends if isinstance(end, Deferred)]
    assert [round(end.delay_s) for end in sent_away] == [2, 3, 4]
    assert sent_away[0].reason == "rate_limited"
    assert sent_away[0].detail == "rehearsal is at its limit of 60 requests a minute"
    assert len(ends) - len(sent_away) == 2


def of_shard(batch: str, shard: str) -> CallTurn:
    return CallTurn(batch, 1, shard)


async def test_a_shard_that_gets_no_permit_is_sent_away_unless_it_is_the_next_of_its_batch() -> None:
    """All are claimed in one millisecond."""
    server = Server(*[granted(1, wait_s=0.01, pace_s=0.1, reason="requests", limit=600)] * 3)
    gate = server.gate("bulk")
    first = [asyncio.create_task(gate.enter(1, of_shard("batch", "1"), rank=1)) for _ in range(6)]
    following = asyncio.create_task(gate.enter(1, of_shard("batch", "2"), rank=1))
    third = asyncio.create_task(gate.enter(1, of_shard("batch", "3"), rank=1))
    await asyncio.wait_for(first[0], 5)
    server.now += 3
    with pytest.raises(Deferred):
        await asyncio.wait_for(third, 5)
    await asyncio.wait_for(asyncio.gather(*first, following), 5)


async def test_a_shard_comes_back_before_the_turn_that_its_batchs_weight_gives_it() -> None:
    server = Server(*[granted(1, wait_s=0.01, pace_s=0.05, reason="requests", limit=1200)] * 2)
    gate = server.gate("bulk")
    turns = [("light", 1, 1, 99), ("heavy", 9, 2, 64), ("heavy", 9, 3, 64), ("heavy", 9, 4, 64)]
    calls = [
        [asyncio.create_task(gate.enter(1, CallTurn(party, weight, str(rank)), rank=rank)) for _ in range(count)]
        for party, weight, rank, count in turns
    ]
    await asyncio.wait_for(asyncio.wait([each for shard in calls for each in shard], return_when="FIRST_COMPLETED"), 5)
    server.now += 3
    ends = await asyncio.wait_for(asyncio.gather(*calls[3], return_exceptions=True), 5)
    delays = {end.delay_s for end in ends if isinstance(end, Deferred)}
    assert len(delays) == 1
    assert min(delays) == pytest.approx(128 / 0.9 * 0.05 - 1, abs=0.5)
    for each in (call for shard in calls for call in shard):
        each.cancel()


async def test_one_of_another_party_is_not_sent_away_for_those_who_came_before_it() -> None:
    server = Server(granted(1, wait_s=0.01, pace_s=0.1, reason="requests", limit=600))
    gate = server.gate()
    greedy = [asyncio.create_task(gate.enter(1, CallTurn("greedy"))) for _ in range(100)]
    modest = asyncio.create_task(gate.enter(1, CallTurn("modest")))
    ends = await asyncio.wait_for(asyncio.gather(*greedy[50:], return_exceptions=True), 5)
    assert all(isinstance(end, Deferred) for end in ends)
    assert not modest.done() or modest.exception() is None
    for each in (*greedy, modest):
        each.cancel()


async def test_shards_of_a_deployment_that_is_held_are_sent_away_at_once() -> None:
    server = Server(granted(0, wait_s=20, reason="held"))
    with pytest.raises(Deferred) as away:
        await asyncio.wait_for(server.gate("bulk").enter(1, of_shard("batch", "1"), rank=1), 5)
    assert away.value.delay_s == 20
    assert away.value.detail == "rehearsal asked to wait"


async def test_while_the_ledger_is_away_all_wait() -> None:
    server = Server(OSError("away"), RuntimeError("a fault"))
    gate = server.gate()
    permits = await asyncio.wait_for(asyncio.gather(gate.enter(1), gate.enter(2)), 10)
    assert len(permits) == 2
    assert server.asked == [[1, 2]] * 3


async def test_a_drain_sends_all_away() -> None:
    server = Server(granted(0, wait_s=1, reason="requests", limit=60))
    gate = server.gate("bulk")
    waiter = asyncio.create_task(gate.enter(1))
    while not server.asked:
        await asyncio.sleep(0)
    gate.drain()
    with pytest.raises(Deferred) as away:
        await asyncio.wait_for(waiter, 5)
    assert away.value.reason == DRAINING
    with pytest.raises(Deferred):
        await gate.enter(1)
