"""The reader's link to the server: killed, half open, silent, too slow; what was published meanwhile is not missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from proxy import proxied
from written_logs import end, holds, ids, read, running, text, write

from headrace.events.ids import EventId
from headrace.events.reader import Reader
from headrace.events.subscription import Subscriber
from headrace.ledger.append import append, append_call
from headrace.ledger.script import Ledger, bind, script
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
    monkeypatch.setattr("headrace.events.reader.LINGER_S", 0)

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
    monkeypatch.setattr("headrace.events.subscription.SILENCE_S", 0.5)
    monkeypatch.setattr(
        "headrace.events.subscription.PING_S", 30
    )  # nobody asks, so nobody answers: as on a half-open link
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

    monkeypatch.setattr("headrace.events.subscription.Subscriber._write", deaf_once)
    await test_a_link_that_says_nothing_is_dropped(ledger, reader, monkeypatch)


async def test_nobody_waits_for_an_actor_that_died(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("broken")

    monkeypatch.setattr("headrace.events.subscription.Subscriber._serve", broken)
    job_id, _ = await running(ledger)
    with await reader.view(ledger.keys.job(job_id)) as viewer, pytest.raises(LookupError):
        async with asyncio.timeout(10):
            await viewer.next()


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
        monkeypatch.setattr("headrace.events.reader.LINGER_S", chance.choice([0, 0, 5]))
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
