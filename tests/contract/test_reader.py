"""The reader: every event once and in order from any place on, over a socket and over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from written_logs import end, ids, read, running, text, write

from headrace.errors import Gone, Unknown
from headrace.events.ids import START, Event, EventId
from headrace.events.log_buffer import LogBuffer
from headrace.events.reader import Reader
from headrace.events.types import AttemptStart, End
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.cancel import cancel
from headrace.ledger.claim import claim
from headrace.ledger.restart import restart
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer


@pytest.fixture(params=["unix", "tcp"])
async def ledger(
    request: pytest.FixtureRequest, own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> AsyncIterator[Ledger]:
    port = free_port()
    server = own_valkey("--bind", "127.0.0.1", "--port", str(port))
    ledger = Ledger.at(server.url if request.param == "unix" else f"redis://127.0.0.1:{port}/0", namespace)
    yield ledger
    await ledger.close()


async def test_a_viewer_may_come_before_the_worker(ledger: Ledger, reader: Reader) -> None:
    job_id = new_id("job")
    await submit(ledger, job_id, b"{}", queue="interactive")
    waiting = asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id))))
    epoch = (await claim(ledger, job_id, token="t", owner="w", queue="interactive")).epoch
    await write(ledger, job_id, epoch, 3)
    async with asyncio.timeout(5):
        assert await waiting == [EventId(epoch, seq) for seq in range(1, 6)]


async def test_a_cursor_goes_on_strictly_after(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await write(ledger, job_id, epoch, 10)
    for seq in range(12):
        viewer = await reader.view(ledger.keys.job(job_id), EventId(epoch, seq))
        assert not viewer.ended
        async with asyncio.timeout(5):
            assert await ids(viewer) == [EventId(epoch, later) for later in range(seq + 1, 13)]


async def test_a_cursor_at_the_end_is_at_the_end(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await write(ledger, job_id, epoch, 1)
    for cursor in (EventId(epoch, 3), "now"):
        viewer = await reader.view(ledger.keys.job(job_id), cursor)
        assert viewer.ended
        with pytest.raises(StopAsyncIteration):
            await viewer.next()
        viewer.close()


async def test_a_viewer_from_now_gets_what_comes(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await append(ledger, job_id, epoch, 2, [text(0)])
    viewer = await reader.view(ledger.keys.job(job_id), "now")
    await write(ledger, job_id, epoch, 2, first=1)
    assert await ids(viewer) == [EventId(epoch, seq) for seq in (3, 4)]


async def test_a_cursor_of_an_older_attempt_goes_on_with_the_newer(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await append(ledger, job_id, epoch, 2, [text(0), text(1)])
    old = await reader.view(ledger.keys.job(job_id))
    assert [event.id.seq for event in await old.next()] == [1, 2, 3]
    fresh = await restart(ledger, job_id, epoch, token="r", reason="retry")
    late = await reader.view(ledger.keys.job(job_id), EventId(epoch, 2))
    lost = await reader.view(ledger.keys.job(job_id), EventId(fresh + 10**6, 7))  # of a ledger that lost its data
    await write(ledger, job_id, fresh, 1)
    async with asyncio.timeout(5):
        for viewer in (old, late, lost):
            assert await ids(viewer) == [EventId(fresh, seq) for seq in (1, 2, 3)]


@pytest.mark.parametrize("held", ["before", "after"])
async def test_a_first_read_that_meets_a_new_attempt_gives_that_one_alone(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """What is void was trimmed: whoever has seen nothing of it begins with what holds. `held`: where the read stood still."""
    go_on, reading = asyncio.Event(), asyncio.Event()
    read_log = LogBuffer._read

    async def slowly(buffer: LogBuffer, *arguments: Any) -> list[Event]:
        entries = await read_log(buffer, *arguments) if held == "after" else []
        reading.set()
        await go_on.wait()
        return entries if held == "after" else await read_log(buffer, *arguments)

    monkeypatch.setattr(LogBuffer, "_read", slowly)
    job_id, epoch = await running(ledger)
    await append(ledger, job_id, epoch, 2, [text(0), text(1)])
    async with asyncio.timeout(5):
        viewing = asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id))))
        await reading.wait()
        fresh = await restart(ledger, job_id, epoch, token="r", reason="retry")
        await write(ledger, job_id, fresh, 1)
        go_on.set()
        seen = await viewing
    assert [id for id in seen if id.epoch == fresh] == [EventId(fresh, seq) for seq in (1, 2, 3)]
    assert [id for id in seen if id.epoch == epoch] in ([], [EventId(epoch, seq) for seq in (1, 2, 3)])


async def test_a_cursor_ahead_of_the_log_waits(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    ahead = asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id), EventId(epoch, 3))))
    await write(ledger, job_id, epoch, 4)
    async with asyncio.timeout(5):
        assert await ahead == [EventId(epoch, seq) for seq in (4, 5, 6)]


async def test_trimmed_events_are_never_passed_over_in_silence(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await append(ledger, job_id, epoch, 2, [text(n) for n in range(8)])
    await ledger.client.xtrim(f"{ledger.keys.job(job_id)}:log", minid=f"{epoch}-5", approximate=False)
    for cursor in (START, EventId(epoch, 2)):
        with await reader.view(ledger.keys.job(job_id), cursor) as viewer:
            with pytest.raises(Gone) as gone:
                await viewer.next()
            assert gone.value.first == EventId(epoch, 5)
    with await reader.view(ledger.keys.job(job_id), EventId(epoch, 4)) as viewer:
        assert [event.id.seq for event in await viewer.next()] == [5, 6, 7, 8, 9]


async def test_a_log_past_its_lifetime_is_gone(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    await write(ledger, job_id, epoch, 1)
    await ledger.client.delete(f"{ledger.keys.job(job_id)}:log")
    with await reader.view(ledger.keys.job(job_id)) as viewer, pytest.raises(Gone, match="none is left"):
        await viewer.next()
    with pytest.raises(Unknown):
        await reader.view(ledger.keys.job(new_id("job")))


async def test_a_slow_viewer_pages_from_the_stream(ledger: Ledger) -> None:
    reader = Reader(ledger, buffer_bytes=20_000)
    job_id, epoch = await running(ledger)
    slow = await reader.view(ledger.keys.job(job_id))
    fast = asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id))))
    await slow.next()
    await write(ledger, job_id, epoch, 700, size=300)
    whole = [EventId(epoch, seq) for seq in range(1, 703)]
    async with asyncio.timeout(20):
        assert await fast == whole
        assert await ids(slow) == whole[1:]
        late = await asyncio.gather(*[ids(await reader.view(ledger.keys.job(job_id))) for _ in range(20)])
    assert all(found == whole for found in late)
    assert sum(buffer.bytes for buffer in reader._buffers.values()) <= 20_000
    await reader.close()


async def test_late_viewers_read_the_log_once_together(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, epoch = await running(ledger)
    await append(ledger, job_id, epoch, 2, [text(n, 100) for n in range(3000)])
    reads = 0
    xrange = ledger.client.xrange

    async def counted(*arguments: object, **words: object) -> object:
        nonlocal reads
        reads += 1
        return await xrange(*arguments, **words)

    monkeypatch.setattr(ledger.client, "xrange", counted)
    late = [
        asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id), EventId(epoch, n * 10)))) for n in range(300)
    ]
    await end(ledger, job_id, epoch, 3002)
    async with asyncio.timeout(20):
        for n, found in enumerate(await asyncio.gather(*late)):
            assert found == [EventId(epoch, seq) for seq in range(n * 10 + 1, 3003)]
    assert reads <= 10


async def test_a_doorbell_brings_what_is_too_large_to_publish(ledger: Ledger, reader: Reader) -> None:
    job_id, epoch = await running(ledger)
    viewer = await reader.view(ledger.keys.job(job_id), "now")
    with await reader.view(ledger.keys.job(job_id)) as other:
        await other.next()
    large = text(0, 100_000)
    await append(ledger, job_id, epoch, 2, [large])
    async with asyncio.timeout(0.5):
        assert [event.data for event in await viewer.next()] == [large]
    viewer.close()


async def test_a_job_cancelled_while_it_waits_has_a_whole_log(ledger: Ledger, reader: Reader) -> None:
    job_id = new_id("job")
    await submit(ledger, job_id, b"{}", queue="interactive")
    waiting = await reader.view(ledger.keys.job(job_id))
    await cancel(ledger, job_id)
    with waiting:
        found = [event.decode(job_id) async for event in waiting]
    assert [type(event) for event in found] == [AttemptStart, End]
    assert found[1] == End(status="cancelled")


async def test_a_job_that_ended_before_what_was_seen_is_told(ledger: Ledger, reader: Reader) -> None:
    """The server lost the end of the log, its writer died too, and somebody else ended the job: nobody waits for ever."""
    job_id, epoch = await running(ledger)
    key = ledger.keys.job(job_id)
    await append(ledger, job_id, epoch, 2, [text(0), text(1), text(2)])
    viewer = await reader.view(key)
    assert [event.id.seq for event in await viewer.next()] == [1, 2, 3, 4]
    left = await ledger.client.xrange(f"{key}:log", count=2)
    await ledger.client.delete(f"{key}:log")
    for id, fields in left:
        await ledger.client.xadd(f"{key}:log", fields, id=id)
    await ledger.client.hset(key, "seq", 2)
    await end(ledger, job_id, epoch, 3)
    async with asyncio.timeout(5):
        with pytest.raises(Gone):
            await viewer.next()
    viewer.close()
    with pytest.raises(Gone):
        await reader.view(key, EventId(epoch, 4))
    assert await read(ledger, reader, job_id) == [0]


async def test_delivers_messages_that_arrive_during_a_read(ledger: Ledger, reader: Reader) -> None:
    """A message during a read is not taken as it comes, and must not be forgotten: here it is the last for long."""
    job_id, epoch = await running(ledger)
    viewer = await reader.view(ledger.keys.job(job_id))
    await viewer.next()
    buffer = viewer._buffer
    read, gate, reading = buffer._read, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        entries = await read(*arguments)
        reading.set()
        await gate.wait()
        return entries

    buffer._read = slowly  # type: ignore[method-assign]
    buffer.fill()
    await reading.wait()
    await append(ledger, job_id, epoch, 2, [text(0)])
    await asyncio.sleep(0.05)  # its message has come
    gate.set()
    async with asyncio.timeout(0.5):
        assert [event.id.seq for event in await viewer.next()] == [2]
    viewer.close()
