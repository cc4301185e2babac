"""Logs that a test writes by hand, and what a reader makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from headrace.events.ids import START, EventId
from headrace.events.reader import Reader, Viewer
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit


async def running(ledger: Ledger) -> tuple[str, int]:
    job_id = new_id("job")
    await submit(ledger, job_id, b"{}", queue="interactive")
    return job_id, (await claim(ledger, job_id, token="t", owner="w", queue="interactive")).epoch


def text(n: int, size: int = 0) -> bytes:
    return b'{"t":"text","n":%d,"d":"%s"}' % (n, b"x" * size)


async def write(ledger: Ledger, job_id: str, epoch: int, count: int, *, size: int = 0, first: int = 0) -> None:
    """`count` events and the end, a few at a time."""
    seq = first + 2
    while seq < count + 2:
        group = [text(seq + at - 2, size) for at in range(min(3, count + 2 - seq))]
        await append(ledger, job_id, epoch, seq, group)
        seq += len(group)
        await asyncio.sleep(0.001)
    await end(ledger, job_id, epoch, seq)


async def end(ledger: Ledger, job_id: str, epoch: int, seq: int) -> None:
    event = {"event": b'{"t":"end","status":"succeeded"}', "result": b"{}", "code": "", "counters": {}}
    await finish(ledger, job_id, epoch, JobState.SUCCEEDED, seq=seq, tenant="default", **event)


async def ids(viewer: Viewer) -> list[EventId]:
    with viewer:
        return [event.id async for event in viewer]


async def read(ledger: Ledger, reader: Reader, job_id: str, after: EventId = START) -> list[int]:
    found = []
    with await reader.view(ledger.keys.job(job_id), after) as viewer:
        async for each in viewer:
            event = msgspec.json.decode(each.data)
            if event["t"] == "text":
                found.append(event["n"])
    return found


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)
