"""The writer's side of a log, on a real server: groups, lost replies, errors, a server that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from crashing_server import kill_server
from headrace_worker.publishing.publisher import Flusher
from proxy import proxied
from publishers import begun, begun_again, ended, publisher_of, stored, text, watched

from headrace import errors
from headrace.events.reader import Reader
from headrace.ledger.cancel import cancel
from headrace.ledger.script import Ledger
from headrace.local.valkey import EmbeddedServer


@pytest.fixture
async def ledger(forgetful_port: int, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(f"redis://127.0.0.1:{forgetful_port}/0", namespace)
    yield ledger
    await ledger.close()


async def test_all_jobs_of_a_process_share_one_round_trip(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    flusher = Flusher(ledger)
    jobs = [await begun(ledger) for _ in range(50)]
    publishers = [publisher_of(flusher, job) for job in jobs]
    trips = 0
    run_group = ledger.run_group

    async def counted(*arguments: object) -> object:
        nonlocal trips
        trips += 1
        return await run_group(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "run_group", counted)
    for n in range(3):
        for publisher in publishers:
            publisher.put(text(f"{n}"), text("!"))
    for publisher in publishers:
        assert await publisher.settled() == 3
    assert trips == 1
    for job, publisher in zip(jobs, publishers, strict=True):
        assert (await stored(ledger, job.record_id))[1][1] == msgspec.json.encode(text("0!1!2!"))
        assert publisher.fold.message["content"] == "0!1!2!"


async def test_the_start_is_kept_as_the_ledger_wrote_it(ledger: Ledger) -> None:
    flusher, job = Flusher(ledger), await begun(ledger, lease_ms=-1)
    publisher = publisher_of(flusher, job)
    assert publisher._kept == [(await stored(ledger, job.record_id))[0][1]]
    await publisher.restart("timeout")
    assert publisher._kept == [(await stored(ledger, job.record_id))[0][1]]
    again = await begun_again(ledger)
    assert publisher_of(flusher, again)._kept == [(await stored(ledger, job.record_id))[0][1]]


async def test_a_reply_that_was_lost_writes_nothing_twice(forgetful_port: int, namespace: str, ledger: Ledger) -> None:
    async with proxied(forgetful_port) as proxy, ledger.client.pubsub() as watcher:
        own = Ledger.at(f"redis://127.0.0.1:{proxy.port}/0", namespace)
        job = await begun(own)
        await watcher.subscribe(f"{ledger.keys.job(job.record_id)}:ch")
        await watcher.get_message(timeout=1)
        publisher = publisher_of(Flusher(own), job)
        for n in range(5):
            proxy.cut_replies = 1 if n % 2 else 0
            publisher.put(text(str(n)))
            await publisher.settled()
        assert proxy.cuts == 2
        heard = [(await watcher.get_message(timeout=1))["data"] for _ in range(5)]
        assert await watcher.get_message(timeout=0.1) is None
        log = await stored(ledger, job.record_id)
        assert [id for id, _ in log] == [f"{job.epoch}-{seq}" for seq in range(1, 7)]
        assert heard == [b"%s %s" % (id.encode(), event) for id, event in log[1:]]
        await own.close()


async def test_a_publisher_that_is_fenced_or_cancelled_is_told_at_the_next_write(ledger: Ledger) -> None:
    flusher, stops = Flusher(ledger), []
    job = await begun(ledger, lease_ms=-1)
    zombie = publisher_of(flusher, job, stops)
    again = await begun_again(ledger)
    before = await stored(ledger, job.record_id)
    zombie.put(text("from the grave"))
    with pytest.raises(errors.Fenced):
        await zombie.settled()
    assert stops == ["FENCED"]
    assert await stored(ledger, job.record_id) == before
    running = publisher_of(flusher, again, stops)
    await cancel(ledger, job.record_id)
    running.put(text("a"))
    await running.settled()
    assert stops == ["FENCED", "CANCELLED"]


async def test_a_job_alone_with_a_broken_log_holds_nobody_up(ledger: Ledger) -> None:
    job = await begun(ledger)
    publisher = publisher_of(Flusher(ledger), job)
    await ledger.client.delete(f"{ledger.keys.job(job.record_id)}:log")
    await ledger.client.set(f"{ledger.keys.job(job.record_id)}:log", "no stream")
    publisher.put(text("a"))
    async with asyncio.timeout(2):
        with pytest.raises(errors.Damaged):
            await publisher.settled()


async def test_after_an_error_nothing_waits_for_ever(ledger: Ledger) -> None:
    job = await begun(ledger)
    publisher = publisher_of(Flusher(ledger), job)
    await ledger.client.delete(f"{ledger.keys.job(job.record_id)}:log")
    await ledger.client.set(f"{ledger.keys.job(job.record_id)}:log", "no stream")
    other = publisher_of(publisher._flusher, await begun(ledger))
    for each in (publisher, other):
        each.put(text("a"))
    async with asyncio.timeout(5):
        await other.settled()
        with pytest.raises(errors.Damaged):
            await publisher.settled()
        publisher.put(text("b"))
        with pytest.raises(errors.Damaged):
            await publisher.settled()


async def test_events_wait_while_the_server_is_away(own_valkey: Callable[..., EmbeddedServer], namespace: str) -> None:
    server = own_valkey(folder="stopping")
    ledger = Ledger.at(server.url, namespace)
    reader = Reader(ledger)
    job = await begun(ledger)
    viewing = asyncio.create_task(watched(ledger, reader, job.record_id))
    publisher = publisher_of(Flusher(ledger), job)
    publisher.put(text("before "))
    await publisher.settled()
    kill_server(server)
    publisher.put(text("meanwhile "))
    await asyncio.sleep(0.1)
    publisher.put(text("later"))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(20):
        await ended(ledger, publisher, job.record_id)
        assert (await viewing).check().message["content"] == "before meanwhile later"
    await reader.close()
    await ledger.close()
