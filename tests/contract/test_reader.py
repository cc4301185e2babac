"""The reader: every event once and in order, whatever happens to its connections, over a socket and over TCP."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from headrace.embedded import EmbeddedServer
from headrace.job import new_id
from headrace.ledger.append import append
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.reader import Channels, events


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=["unix", "tcp"])
async def ledger(
    request: pytest.FixtureRequest, own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> AsyncIterator[Ledger]:
    port = free_port()
    server = own_valkey("--bind", "127.0.0.1", "--port", str(port))
    ledger = Ledger.at(server.url if request.param == "unix" else f"redis://127.0.0.1:{port}/0", namespace)
    yield ledger
    await ledger.close()


async def running(ledger: Ledger) -> tuple[str, int]:
    job_id = new_id("job")
    await submit(ledger, job_id, b"{}", queue="interactive")
    return job_id, (await claim(ledger, job_id, token="t", owner="w", queue="interactive")).epoch


async def write(ledger: Ledger, job_id: str, epoch: int, count: int) -> None:
    """`count` events and the end, a few at a time."""
    seq = 2
    while seq < count + 2:
        group = [b'{"t":"text","n":%d}' % (seq + at - 2) for at in range(min(3, count + 2 - seq))]
        await append(ledger, job_id, epoch, seq, group)
        seq += len(group)
        await asyncio.sleep(0.001)
    end = {"event": b'{"t":"end","status":"succeeded"}', "result": b"{}", "code": "", "counters": {}}
    await finish(ledger, job_id, epoch, JobState.SUCCEEDED, seq=seq, tenant="default", **end)


async def read(ledger: Ledger, channels: Channels, job_id: str, after: str = "0") -> list[int]:
    found = []
    async for _, event in events(ledger, channels, ledger.keys.job(job_id), after=after):
        if event["t"] == "text":
            found.append(event["n"])
    return found


async def test_readers_see_all_events_once_while_connections_are_killed(ledger: Ledger) -> None:
    chance, channels = random.Random(3), Channels(ledger)
    jobs = [await running(ledger) for _ in range(5)]
    readers = [asyncio.create_task(read(ledger, channels, job_id)) for job_id, _ in jobs]
    writers = [asyncio.create_task(write(ledger, job_id, epoch, 300)) for job_id, epoch in jobs]
    killed = 0
    while not all(writer.done() for writer in writers):
        await asyncio.sleep(chance.uniform(0.005, 0.05))
        killed += await ledger.client.client_kill_filter(_type="pubsub")
        if len(readers) < 15:
            readers.append(asyncio.create_task(read(ledger, channels, jobs[0][0])))
    async with asyncio.timeout(20):
        for found in await asyncio.gather(*readers):
            assert found == list(range(300))
    assert killed > 3
    await channels.close()


async def test_the_connection_closes_with_the_last_listener_and_opens_again(ledger: Ledger) -> None:
    channels = Channels(ledger)

    async def subscribers() -> int:
        return sum(row["sub"] != "0" for row in await ledger.client.client_list())

    for _ in range(3):
        with channels.listen("a") as one, channels.listen("b") as two:
            async with asyncio.timeout(10):
                await asyncio.gather(one.wait(), two.wait())
            assert await subscribers() == 1
        async with asyncio.timeout(10):
            while await subscribers():
                await asyncio.sleep(0.01)
    await channels.close()


async def test_a_link_that_says_nothing_is_dropped(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.reader.SILENCE_S", 0.5)
    monkeypatch.setattr("headrace.reader.PING_S", 30)  # nobody asks, so nobody answers: as on a half-open link
    channels = Channels(ledger)
    with channels.listen("a") as wake:
        async with asyncio.timeout(10):
            await wake.wait()  # confirmed
            await wake.wait()  # confirmed again, on the next connection
    await channels.close()


async def test_nobody_waits_for_an_actor_that_died(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("broken")

    channels = Channels(ledger)
    monkeypatch.setattr(channels, "_serve", broken)
    with channels.listen("a") as wake, pytest.raises(LookupError):
        async with asyncio.timeout(10):
            await wake.wait()
