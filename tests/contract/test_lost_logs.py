"""What a server lost of a log is written again under the same ids, or from a snapshot; a long log is compacted. Real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from headrace_worker.publishing.publisher import Flusher
from proxy import proxied
from publishers import begun, ended, publisher_of, stored, text, viewed, watched
from transcript import Transcript

from headrace.events.ids import START, EventId
from headrace.events.reader import Reader
from headrace.events.types import ReasoningDelta, TextDelta
from headrace.ledger.script import Ledger
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer


@pytest.fixture
async def ledger(forgetful_port: int, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(f"redis://127.0.0.1:{forgetful_port}/0", namespace)
    yield ledger
    await ledger.close()


async def test_a_lost_tail_is_sent_again_under_the_same_ids(ledger: Ledger, reader: Reader) -> None:
    job = await begun(ledger)
    key = ledger.keys.job(job.record_id)
    viewing = asyncio.create_task(watched(ledger, reader, job.record_id))
    publisher = publisher_of(Flusher(ledger), job)
    for n in range(10):
        publisher.put(text(str(n)))
        await publisher.settled()
    before = await stored(ledger, job.record_id)
    await ledger.client.delete(f"{key}:log")
    for id, event in before[:6]:
        await ledger.client.xadd(f"{key}:log", {"d": event}, id=id)
    await ledger.client.hset(key, "seq", 6)
    publisher.put(text("more"))
    await publisher.settled()
    assert (await stored(ledger, job.record_id))[:11] == before
    await ended(ledger, publisher, job.record_id)
    late = await watched(ledger, reader, job.record_id)
    for seen in (await viewing, late):
        assert seen.check().message["content"] == "0123456789more"


@pytest.mark.parametrize("found_by", ["append", "finish", "beat"])
async def test_a_lost_record_is_written_again(ledger: Ledger, reader: Reader, found_by: str) -> None:
    job = await begun(ledger)
    viewing = asyncio.create_task(watched(ledger, reader, job.record_id))
    publisher = publisher_of(Flusher(ledger), job)
    publisher.put(text("be"), text("fore"))
    await publisher.settled()
    await viewed(ledger, reader, job.record_id)
    before = await stored(ledger, job.record_id)
    await ledger.client.flushall()
    if found_by == "append":
        publisher.put(text(" and after"))
        await publisher.settled()
        assert (await stored(ledger, job.record_id))[: len(before)] == before
    elif found_by == "beat":
        publisher.mend_lost_record()
        await publisher.settled()
        assert await stored(ledger, job.record_id) == before
    await ended(ledger, publisher, job.record_id)
    async with asyncio.timeout(5):
        said = "before and after" if found_by == "append" else "before"
        assert (await viewing).check().message["content"] == said
    assert (await watched(ledger, reader, job.record_id)).check().message["content"] == said
    assert await ledger.client.hget(ledger.keys.job(job.record_id), "state") == b"succeeded"


async def test_a_long_log_is_compacted_and_every_viewer_folds_to_the_same(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_worker.publishing.publisher.MAX_EVENTS", 50)
    monkeypatch.setattr("headrace_worker.publishing.publisher.FLOOR_S", 0)
    job = await begun(ledger)
    early = asyncio.create_task(watched(ledger, reader, job.record_id))
    publisher = publisher_of(Flusher(ledger), job)
    cursors = []
    for n in range(180):
        publisher.put((ReasoningDelta if n % 7 == 0 else TextDelta)(d=f"{n} "))
        await publisher.settled()
        if n % 60 == 0:
            cursors.append(EventId(job.epoch, publisher.next_seq - 1))
    whole = publisher.fold.message
    assert len(await stored(ledger, job.record_id)) <= 50
    assert len(publisher._kept) <= 50
    elsewhere = Reader(ledger)  # where nobody has seen the beginning
    late = await watched_now(ledger, elsewhere, job.record_id, cursors, lambda: ended(ledger, publisher, job.record_id))
    await elsewhere.close()
    for seen in (await early, *late):
        snapshots = [event for event in seen.decoded if event["t"] == "snapshot"]
        assert snapshots
        assert seen.fold().message == whole
    assert (await early).check().message == whole
    assert late[0].decoded[0]["t"] == "snapshot"


async def watched_now(
    ledger: Ledger, reader: Reader, job_id: str, cursors: list[EventId], finish: Callable[[], object]
) -> list[Transcript]:
    viewing = [asyncio.create_task(watched(ledger, reader, job_id, cursor)) for cursor in (START, *cursors[:-1])]
    await viewed(ledger, reader, job_id, len(viewing))
    await finish()  # type: ignore[misc]
    async with asyncio.timeout(5):
        return await asyncio.gather(*viewing)


async def test_a_compacted_log_is_restored_from_its_snapshot(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_worker.publishing.publisher.MAX_EVENTS", 20)
    job = await begun(ledger)
    publisher = publisher_of(Flusher(ledger), job)
    for n in range(30):
        publisher.put(text(f"{n} "))
        await publisher.settled()
    viewing = asyncio.create_task(watched(ledger, reader, job.record_id))
    await viewed(ledger, reader, job.record_id)
    before = await stored(ledger, job.record_id)
    await ledger.client.flushall()
    publisher.put(text("after"))
    await publisher.settled()
    assert (await stored(ledger, job.record_id))[:-1] == before
    key = ledger.keys.job(job.record_id)
    await ledger.client.delete(f"{key}:log")  # and an old copy, from before the compaction
    await ledger.client.xadd(f"{key}:log", {"d": b"{}"}, id=f"{job.epoch}-1")
    await ledger.client.hset(key, "seq", 1)
    publisher.put(text(" all"))
    await publisher.settled()
    await ended(ledger, publisher, job.record_id)
    whole = "".join(f"{n} " for n in range(30)) + "after all"
    assert (await viewing).check().message["content"] == whole
    assert (await watched(ledger, reader, job.record_id)).check().message["content"] == whole


async def test_a_slow_viewer_waits_for_a_lost_log_to_come_back(ledger: Ledger) -> None:
    reader = Reader(ledger, buffer_bytes=2000)
    job = await begun(ledger)
    publisher = publisher_of(Flusher(ledger), job)
    viewer = await reader.view(ledger.keys.job(job.record_id))
    await viewer.next()
    for n in range(300):
        publisher.put(text(f"{n} "))
        await publisher.settled()
    await ledger.client.flushall()
    waiting = asyncio.create_task(viewer.next())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    publisher.put(text("more"))
    async with asyncio.timeout(5):
        assert (await waiting)[0].id == EventId(job.epoch, 2)
    viewer.close()
    await reader.close()


async def test_after_a_failover_the_lost_tail_comes_under_the_same_ids(
    forgetful_port: int, own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> None:
    """The replica was behind when it took over: the writer sends again, viewers go on as if nothing had been."""
    second = free_port()
    async with proxied(forgetful_port) as proxy, proxied(forgetful_port) as replication:
        primary = ("--replicaof", f"127.0.0.1 {replication.port}")
        replica = await asyncio.to_thread(
            own_valkey, "--bind", "127.0.0.1", "--port", str(second), *primary, "--save", "", folder="replica"
        )
        direct = Ledger.at(replica.url, namespace)
        ledger = Ledger.at(f"redis://127.0.0.1:{proxy.port}/0", namespace)
        reader = Reader(ledger)
        job = await begun(ledger)
        key = ledger.keys.job(job.record_id)
        publisher = publisher_of(Flusher(ledger), job)
        publisher.put(text("replicated "))
        await publisher.settled()
        async with asyncio.timeout(20):
            while await direct.client.hget(key, "seq") != b"2":
                await asyncio.sleep(0.02)
        viewing = asyncio.create_task(watched(ledger, reader, job.record_id))
        replication.swallow()
        for n in range(5):
            publisher.put(text(f"lost {n} "))
            await publisher.settled()
        before = await stored(ledger, job.record_id)
        await direct.client.execute_command("REPLICAOF", "NO", "ONE")
        assert await direct.client.hget(key, "seq") == b"2"
        await proxy.switch(second)
        publisher.put(text("after"))
        async with asyncio.timeout(20):
            await publisher.settled()
            assert (await stored(direct, job.record_id))[:-1] == before
            await ended(ledger, publisher, job.record_id)
            seen = await viewing
        assert seen.check().message["content"] == "replicated " + "".join(f"lost {n} " for n in range(5)) + "after"
        assert (await watched(ledger, reader, job.record_id)).events == seen.events
        await reader.close()
        await ledger.close()
        await direct.close()
