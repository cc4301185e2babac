"""The reader: every event once and in order, whatever happens to its connections, over a socket and over TCP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis
from proxy import proxied

from headrace.embedded import EmbeddedServer
from headrace.errors import Gone, Unknown
from headrace.event import START, EventId
from headrace.job import new_id
from headrace.ledger.append import append, append_call
from headrace.ledger.cancel import cancel
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.restart import restart
from headrace.ledger.script import Ledger, bind, script
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.reader import Reader, Viewer
from headrace.subscriber import Subscriber
from headrace.up import free_port


@pytest.fixture(params=["unix", "tcp"])
async def ledger(
    request: pytest.FixtureRequest, own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> AsyncIterator[Ledger]:
    port = free_port()
    server = own_valkey("--bind", "127.0.0.1", "--port", str(port))
    ledger = Ledger.at(server.url if request.param == "unix" else f"redis://127.0.0.1:{port}/0", namespace)
    yield ledger
    await ledger.close()


@pytest.fixture
async def reader(ledger: Ledger) -> AsyncIterator[Reader]:
    reader = Reader(ledger)
    yield reader
    await reader.close()


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
            event = each.decode()
            if event["t"] == "text":
                found.append(event["n"])
    return found


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_readers_see_all_events_once_while_connections_are_killed(ledger: Ledger, reader: Reader) -> None:
    chance = random.Random(3)
    jobs = [await running(ledger) for _ in range(5)]
    readers = [asyncio.create_task(read(ledger, reader, job_id)) for job_id, _ in jobs]
    writers = [asyncio.create_task(write(ledger, job_id, epoch, 300)) for job_id, epoch in jobs]
    killed = 0
    while not all(writer.done() for writer in writers):
        await asyncio.sleep(chance.uniform(0.005, 0.05))
        killed += await ledger.client.client_kill_filter(_type="pubsub")
        if len(readers) < 15:
            readers.append(asyncio.create_task(read(ledger, reader, jobs[0][0])))
    async with asyncio.timeout(20):
        for found in await asyncio.gather(*readers):
            assert found == list(range(300))
    assert killed > 3


async def test_the_connection_closes_with_the_last_room_and_opens_again(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.reader.LINGER_S", 0)

    async def subscribers() -> int:
        return sum(row["sub"] != "0" for row in await ledger.client.client_list())

    jobs = [await running(ledger) for _ in range(2)]
    for _ in range(3):
        viewers = [await reader.view(ledger.keys.job(job_id)) for job_id, _ in jobs]
        async with asyncio.timeout(10):
            for viewer in viewers:
                await viewer.next()
        assert await subscribers() == 1
        for viewer in viewers:
            viewer.close()

        async def nobody() -> bool:
            return await subscribers() == 0

        await holds(nobody)


async def test_a_link_that_says_nothing_is_dropped(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.subscriber.SILENCE_S", 0.5)
    monkeypatch.setattr("headrace.subscriber.PING_S", 30)  # nobody asks, so nobody answers: as on a half-open link
    job_id, _ = await running(ledger)
    viewer = await reader.view(ledger.keys.job(job_id))
    await viewer.next()
    seen: set[str] = set()

    async def another() -> bool:
        seen.update(row["id"] for row in await ledger.client.client_list() if row["sub"] != "0")
        return len(seen) > 1

    await holds(another)
    viewer.close()


async def test_a_link_is_dropped_though_its_writer_does_not_hear_that_it_is_to_stop(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation gets lost in redis-py when it comes just as a command has been sent, such as the ping of that second."""
    write = Subscriber._write

    async def deaf_once(self: Subscriber, connection: Any) -> None:
        try:
            await write(self, connection)
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    monkeypatch.setattr("headrace.subscriber.Subscriber._write", deaf_once)
    await test_a_link_that_says_nothing_is_dropped(ledger, reader, monkeypatch)


async def test_nobody_waits_for_an_actor_that_died(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("broken")

    monkeypatch.setattr("headrace.subscriber.Subscriber._serve", broken)
    job_id, _ = await running(ledger)
    with await reader.view(ledger.keys.job(job_id)) as viewer, pytest.raises(LookupError):
        async with asyncio.timeout(10):
            await viewer.next()


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


async def test_now_gives_what_comes(ledger: Ledger, reader: Reader) -> None:
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
    reader = Reader(ledger, room_bytes=20_000)
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
    assert sum(room.bytes for room in reader._rooms.values()) <= 20_000
    await reader.close()


async def test_those_who_come_late_read_the_log_once_together(
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


async def test_the_last_event_is_found_though_its_message_was_lost(
    own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> None:
    """On its way to the subscriber, and nothing else was: its link is well, so only the tail check can tell."""
    port = free_port()
    own_valkey("--bind", "127.0.0.1", "--port", str(port))
    ledger = Ledger.at(f"redis://127.0.0.1:{port}/0", namespace)
    async with proxied(port) as proxy:
        beside = Ledger.at(f"redis://127.0.0.1:{proxy.port}/0", namespace)
        reader = Reader(ledger)
        reader._subscriber = Subscriber(beside)
        job_id, epoch = await running(ledger)
        viewer = await reader.view(ledger.keys.job(job_id))
        await viewer.next()
        dropped: list[bytes] = []
        proxy.drop = lambda data: b'"t":"end"' in data and not dropped.append(data)
        await end(ledger, job_id, epoch, 2)
        async with asyncio.timeout(1.5):
            assert await ids(viewer) == [EventId(epoch, 2)]
        async with asyncio.timeout(5):
            while not dropped:
                await asyncio.sleep(0.01)
        assert proxy.connections == 1
        await reader.close()
        await beside.close()
    await ledger.close()


async def test_left_and_entered_again_at_any_moment_nothing_stalls(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the linger, and while the server is being told: between UNSUBSCRIBE and its confirmation."""
    chance = random.Random(5)
    job_id, epoch = await running(ledger)
    key = ledger.keys.job(job_id)
    viewer = await reader.view(key)
    await viewer.next()
    for seq in range(2, 80):
        monkeypatch.setattr("headrace.reader.LINGER_S", chance.choice([0, 0, 5]))
        cursor = viewer.cursor
        viewer.close()
        await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.002]))
        early = chance.random() < 0.5  # then no message tells of it
        if early:
            await append(ledger, job_id, epoch, seq, [text(seq)])
        viewer = await reader.view(key, cursor)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
        if not early:
            await append(ledger, job_id, epoch, seq, [text(seq)])
        async with asyncio.timeout(0.5):
            assert [event.id.seq for event in await viewer.next()] == [seq]
    viewer.close()


async def test_a_blocked_loop_is_kicked_and_catches_up(ledger: Ledger, reader: Reader) -> None:
    await ledger.client.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
    job_id, epoch = await running(ledger)
    viewing = asyncio.create_task(ids(await reader.view(ledger.keys.job(job_id))))
    async with asyncio.timeout(5):
        while not (await ledger.client.pubsub_numsub(f"{ledger.keys.job(job_id)}:ch"))[0][1]:
            await asyncio.sleep(0.01)
    move, options = script("append"), ledger.client.connection_pool.connection_kwargs
    place = {name: options[name] for name in ("host", "port") if name in options}
    place |= {"unix_socket_path": options["path"]} if "path" in options else {}
    with redis.Redis(**place) as other:  # a client that does not await: meanwhile nothing here reads
        for first in range(2, 6002, 20):
            call = append_call(ledger, job_id, epoch, first, [text(n, 4000) for n in range(first, first + 20)])
            other.eval(move.source, len(move.keys), *bind(move, call.keys, call.arguments, call.rest))
        kicked: Any = other.info("stats")
    await end(ledger, job_id, epoch, 6002)
    async with asyncio.timeout(20):
        assert await viewing == [EventId(epoch, seq) for seq in range(1, 6003)]
    assert kicked["client_output_buffer_limit_disconnections"] > 0


async def test_a_job_cancelled_while_it_waits_has_a_whole_log(ledger: Ledger, reader: Reader) -> None:
    job_id = new_id("job")
    await submit(ledger, job_id, b"{}", queue="interactive")
    waiting = await reader.view(ledger.keys.job(job_id))
    await cancel(ledger, job_id)
    with waiting:
        found = [event.decode() async for event in waiting]
    assert [event["t"] for event in found] == ["attempt.start", "end"]
    assert found[1]["status"] == "cancelled"


async def test_a_half_open_link_is_noticed_and_nothing_stalls(
    own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> None:
    """The subscriber's connection becomes a black hole: the tail check tells of events, the watchdog connects anew."""
    port = free_port()
    own_valkey("--bind", "127.0.0.1", "--port", str(port))
    ledger = Ledger.at(f"redis://127.0.0.1:{port}/0", namespace)
    async with proxied(port) as proxy:
        beside = Ledger.at(f"redis://127.0.0.1:{proxy.port}/0", namespace)
        reader = Reader(ledger)
        reader._subscriber = Subscriber(beside)
        job_id, epoch = await running(ledger)
        viewer = await reader.view(ledger.keys.job(job_id))
        await viewer.next()
        await append(ledger, job_id, epoch, 2, [text(0)])
        await viewer.next()
        assert proxy.connections == 1
        proxy.swallow()
        loop = asyncio.get_running_loop()
        began, seq = loop.time(), 3

        async def connected_anew() -> float:
            while proxy.connections == 1:
                await asyncio.sleep(0.01)
            return loop.time() - began

        anew = asyncio.create_task(connected_anew())
        while not anew.done():
            sent = loop.time()
            await append(ledger, job_id, epoch, seq, [text(seq)])
            async with asyncio.timeout(1.7):
                assert [event.id.seq for event in await viewer.next()] == [seq]
            assert loop.time() - sent < 1.5
            seq += 1
        assert anew.result() < 4
        await append(ledger, job_id, epoch, seq, [text(seq)])
        await viewer.next()
        for _ in range(20):
            seq += 1
            sent = loop.time()
            await append(ledger, job_id, epoch, seq, [text(seq)])
            await viewer.next()
            assert loop.time() - sent < 0.5
        viewer.close()
        await reader.close()
        await beside.close()
    await ledger.close()


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


async def test_what_comes_while_a_room_reads_on_does_not_wait(ledger: Ledger, reader: Reader) -> None:
    """A message during a read is not taken as it comes, and must not be forgotten: here it is the last for long."""
    job_id, epoch = await running(ledger)
    viewer = await reader.view(ledger.keys.job(job_id))
    await viewer.next()
    room = viewer._room
    read, gate, reading = room._read, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        entries = await read(*arguments)
        reading.set()
        await gate.wait()
        return entries

    room._read = slowly  # type: ignore[method-assign]
    room.fill()
    await reading.wait()
    await append(ledger, job_id, epoch, 2, [text(0)])
    await asyncio.sleep(0.05)  # its message has come
    gate.set()
    async with asyncio.timeout(0.5):
        assert [event.id.seq for event in await viewer.next()] == [2]
    viewer.close()
