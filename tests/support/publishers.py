"""An attempt that publishes its events, and what is in its log and before its viewers afterwards."""

from __future__ import annotations

import asyncio

from headrace_worker.publishing.publisher import Flusher, Publisher
from time_scaling import scaled_s
from transcript import Transcript

from headrace.events.ids import START, EventId
from headrace.events.reader import Reader
from headrace.events.types import TextDelta
from headrace.jobs.job import new_id
from headrace.ledger.claim import Claimed, claim
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

LONG = 10**9


async def begun(ledger: Ledger, *, lease_ms: int = LONG) -> Claimed:
    job_id = await submit(ledger, new_id("job"), b'{"v":1}', queue="interactive")
    return await claim(ledger, job_id, token="t", owner="w", queue="interactive", lease_ms=lease_ms)


async def begun_again(ledger: Ledger) -> Claimed:
    """The next attempt at the one job whose lease has run out."""
    ((queue, job_id),) = await recover(ledger)
    return await claim(ledger, job_id, token="u", owner="w", queue=queue, lease_ms=LONG)


def publisher_of(flusher: Flusher, claimed: Claimed, stops: list[str] | None = None) -> Publisher:
    told = [] if stops is None else stops
    return Publisher(flusher, claimed.record_id, claimed.epoch, claimed.record, on_stop=told.append)


def text(d: str) -> TextDelta:
    return TextDelta(d=d)


async def ended(ledger: Ledger, publisher: Publisher, job_id: str) -> None:
    await publisher.move(
        lambda seq: finish(
            ledger,
            job_id,
            publisher.epoch,
            JobState.SUCCEEDED,
            seq=seq,
            event=b'{"t":"end","status":"succeeded"}',
            result=b"{}",
        )
    )


async def watched(ledger: Ledger, reader: Reader, job_id: str, after: EventId = START) -> Transcript:
    seen = Transcript()
    with await reader.view(ledger.keys.job(job_id), after) as viewer:
        async for event in viewer:
            seen.add(event)
    return seen


async def viewed(ledger: Ledger, reader: Reader, job_id: str, viewers: int = 1) -> None:
    """Wait until so many view the log of `job_id` in `reader`, which has all that is in it."""
    *_, (last, _) = await stored(ledger, job_id)
    tail = EventId(*map(int, last.split("-")))
    async with asyncio.timeout(scaled_s(10)):
        while True:
            buffer = reader._buffers.get(ledger.keys.job(job_id))
            if buffer and len(buffer.viewers) >= viewers and buffer.begun and buffer.top >= tail:
                return
            await asyncio.sleep(0.005)


async def stored(ledger: Ledger, job_id: str) -> list[tuple[str, bytes]]:
    entries = await ledger.client.xrange(f"{ledger.keys.job(job_id)}:log")
    return [(id.decode(), fields[b"d"]) for id, fields in entries]
