"""One job, one attempt at a time: hints that come twice, and cancellations before any attempt or between two."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from stack import Stack
from transcript import Transcript

from headrace import AsyncHeadrace
from headrace.broker.queue import queue_key, unacked_key
from headrace.client.handles import AsyncJobHandle
from headrace.events.ids import START
from headrace.ledger.queues import INTERACTIVE
from headrace.settings import Settings

MODEL = "rehearsal/small"
STORY = (
    "Tell of the river, the mill and the wheel, of the miller, his flour and his cat, one after the other, at length."
)


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
        yield client


async def ask(client: AsyncHeadrace, orders: str) -> AsyncJobHandle[Any]:
    return await client.submit(MODEL, f"{STORY} [[rehearsal {orders}]]", stream=True)


async def watch(client: AsyncHeadrace, job: AsyncJobHandle[Any], seen: Transcript | None = None) -> Transcript:
    seen = seen or Transcript()
    async with asyncio.timeout(30):
        with await client.reader.view(client.ledger.keys.job(job.id), START) as viewer:
            async for event in viewer:
                seen.add(event, time.monotonic())
    seen.check(await client.ledger.client.get(f"{client.ledger.keys.job(job.id)}:result"))
    return seen


def types(seen: Transcript) -> list[str]:
    return [event["t"] for event in seen.decoded]


async def hints_left(client: AsyncHeadrace, count: int) -> None:
    """Wait until no hint waits, and the workers have `count` of them in their hands."""
    queue, unacked = queue_key(client.ledger.namespace, INTERACTIVE), unacked_key(client.ledger.namespace)
    async with asyncio.timeout(20):
        while await client.ledger.client.llen(queue) or await client.ledger.client.hlen(unacked) != count:
            await asyncio.sleep(0.01)


async def test_a_hint_that_comes_again_changes_nothing(stack: Stack, client: AsyncHeadrace) -> None:
    """While its attempt runs, and after its end, as when a worker dies between the two: it is acked, and nobody is paid."""
    job = await ask(client, "tps=25")
    seen = Transcript()
    viewing = asyncio.create_task(watch(client, job, seen))
    async with asyncio.timeout(20):
        while len(seen.events) < 5:
            await asyncio.sleep(0.005)
    await client.ledger_backend.hints.publish(client.ledger, [(INTERACTIVE, job.id)] * 3)
    await hints_left(client, 1)
    assert "end" not in types(seen), "the first attempt still runs"
    await viewing
    assert await client.ledger.client.hget(client.ledger.keys.job(job.id), "n") == b"1"
    await hints_left(client, 0)
    await client.ledger_backend.hints.publish(client.ledger, [(INTERACTIVE, job.id)])
    await hints_left(client, 0)
    assert (await watch(client, job)).events == seen.events
    assert len(stack.calls_of(job.id)) == 1


async def test_cancelled_before_a_worker_has_it(stack: Stack, client: AsyncHeadrace) -> None:
    worker = stack.ready["workers"]["interactive"]
    os.kill(worker, signal.SIGSTOP)
    try:
        job = await ask(client, "tps=25")
        viewing = asyncio.create_task(watch(client, job))
        assert await job.cancel() == "cancelled"
        assert await job.cancel() == "cancelled"
        seen = await viewing
    finally:
        os.kill(worker, signal.SIGCONT)
    assert types(seen) == ["attempt.start", "end"]
    assert seen.decoded[-1]["status"] == "cancelled"
    await hints_left(client, 0)
    assert (await watch(client, job)).events == seen.events
    assert stack.calls_of(job.id) == []


async def test_cancelled_while_it_waits_for_its_next_attempt(stack: Stack, client: AsyncHeadrace) -> None:
    job = await ask(client, "fault=429,retry_after=30")
    seen = Transcript()
    viewing = asyncio.create_task(watch(client, job, seen))
    async with asyncio.timeout(20):
        while await job.status() != "parked" or not seen.events:
            await asyncio.sleep(0.01)
    assert await job.cancel() == "cancelled"
    await viewing
    assert seen.decoded[-1]["status"] == "cancelled"
    assert types(seen).count("attempt.start") == 2, "whoever comes now is shown the last alone"
    assert types(await watch(client, job)) == ["attempt.start", "end"]
    assert await client.ledger.client.zscore(client.ledger.keys.due, job.id) is None
    assert len(stack.calls_of(job.id)) == 1
