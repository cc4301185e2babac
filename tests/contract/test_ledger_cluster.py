"""The ledger on one `cluster-enabled` node: every key of a script lies in one slot, or the server would refuse it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from headrace_worker.publishing.publisher import Flusher, Publisher
from redis.exceptions import RedisError
from transcript import Transcript
from written_logs import holds

from headrace import errors
from headrace.broker.queue import queue_keys
from headrace.events.reader import Reader
from headrace.events.types import TextDelta
from headrace.jobs.job import new_id
from headrace.ledger.announce import Announcement, announce
from headrace.ledger.append import append
from headrace.ledger.beat import beat
from headrace.ledger.begin_batch import begin_batch
from headrace.ledger.breaker_close import breaker_close
from headrace.ledger.breaker_fail import breaker_fail
from headrace.ledger.breaker_probe import breaker_probe
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import Claimed, claim
from headrace.ledger.close import close
from headrace.ledger.compact import compact
from headrace.ledger.create_batch import create_batch
from headrace.ledger.create_file import create_file
from headrace.ledger.creation import Creation
from headrace.ledger.dead_letter import dead_letter
from headrace.ledger.delete_file import delete_file
from headrace.ledger.due import EXPIRED as EXPIRED_QUEUE
from headrace.ledger.due import due
from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.expire import expire
from headrace.ledger.feed import feed
from headrace.ledger.finish import finish
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.keep_answers import Kept, keep_answers
from headrace.ledger.lead import lead
from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_hold import limit_hold
from headrace.ledger.limit_learn import limit_learn
from headrace.ledger.limit_take import limit_take
from headrace.ledger.look_up import look_up
from headrace.ledger.open import open_batch
from headrace.ledger.overview import ledger_overview
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import recover
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.reject_batch import reject_batch
from headrace.ledger.release import release
from headrace.ledger.reserve import reserve
from headrace.ledger.restart import restart
from headrace.ledger.restore import restore
from headrace.ledger.resume import resume
from headrace.ledger.script import FOLDER, Argument, Ledger, ScriptCall
from headrace.ledger.seal import seal
from headrace.ledger.set_budget import set_tenant_budget
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.shorten import shorten
from headrace.ledger.show import show
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit, submit_many
from headrace.ledger.unread import UnreadAnswer, WaitingClient, mark_disconnected
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer

EXPIRED, LONG = -1, 10**9


class Witness(Ledger):
    """A ledger that remembers which moves were sent."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.sent: set[str] = set()
        self.together: set[str] = set()  # those of many records in one pipeline

    async def run(self, name: str, *arguments: object, **options: object) -> list[bytes]:
        self.sent.add(name)
        return await super().run(name, *arguments, **options)  # type: ignore[arg-type]

    async def run_group(
        self, name: str, calls: Sequence[ScriptCall]
    ) -> list[list[bytes] | errors.Refused | RedisError]:
        self.together |= {name} if len({call.subject for call in calls}) > 1 else set()
        return await super().run_group(name, calls)

    async def run_many(
        self, name: str, calls: Sequence[ScriptCall], then: Sequence[Sequence[Argument]] = ()
    ) -> list[list[bytes] | errors.Refused]:
        self.together |= {name} if len({call.subject for call in calls}) > 1 else set()
        return await super().run_many(name, calls, then)


@pytest.fixture
async def ledger(own_valkey: Callable[..., EmbeddedServer], namespace: str) -> AsyncIterator[Ledger]:
    # The cluster bus takes a port of its own, and a node must have one for clients too.
    port = free_port(row=2)
    bus = port + 1
    node = own_valkey(
        "--cluster-enabled", "yes", "--port", str(port), "--cluster-port", str(bus), "--bind", "127.0.0.1"
    )
    ledger = Witness.at(node.url, namespace)
    await ledger.client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    async with asyncio.timeout(10):
        while "ok" not in str((await ledger.client.execute_command("CLUSTER INFO"))["cluster_state"]):
            await asyncio.sleep(0.02)
    yield ledger
    await ledger.close()


async def take(ledger: Ledger, record_id: str, token: str, lease_ms: int = LONG) -> Claimed:
    queue = (await ledger.client.hget(ledger.keys.record(record_id), "queue")).decode()
    return await claim(ledger, record_id, token=token, owner="w", queue=queue, lease_ms=lease_ms)


async def all_due(ledger: Ledger) -> list[tuple[str, str]]:
    for member in await ledger.client.zrange(ledger.keys.due, 0, -1):
        await ledger.client.zadd(ledger.keys.due, {member: 0})
    return await due(ledger)


async def a_jobs_life(ledger: Ledger) -> None:
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive", idempotency_key="k")
    assert await all_due(ledger) == [("interactive", job)]
    await take(ledger, job, "a", EXPIRED)
    assert await recover(ledger) == [("quarantine", job)]
    attempt = await take(ledger, job, "b")
    await park(ledger, job, attempt.epoch, delay_ms=0, calls="1:0", reason="rate_limited")
    assert await all_due(ledger) == [("interactive", job)]
    attempt = await take(ledger, job, "c")
    assert await release(ledger, job, attempt.epoch, calls="1:0") == "interactive"
    attempt = await take(ledger, job, "d")
    assert await beat(ledger, {job: attempt.epoch}) == {}
    epoch = await restart(ledger, job, attempt.epoch, token="r", reason="retry")
    await show(ledger, job, epoch)
    await shorten(ledger, job, ttl_ms=LONG)
    await append(ledger, job, epoch, 2, [b"{}"])
    assert await compact(ledger, job, epoch, 3, b"{}") == 3
    await ledger.client.delete(ledger.keys.job(job), f"{ledger.keys.job(job)}:log")
    assert await restore(ledger, job, epoch, attempt.record, [b"{}", b"{}"]) == 2
    assert await finish(ledger, job, epoch, JobState.SUCCEEDED, seq=3, event=b"{}", result=b"42", counters={"jobs": 1})
    with pytest.raises(errors.Finished):
        await cancel(ledger, job)
    assert await ledger.client.get(f"{ledger.keys.job(job)}:result") == b"42"
    waiter = WaitingClient("gateway", again=False, asked="0" * 64)
    unread = await submit(ledger, new_id("job"), b"{}", queue="interactive", waiter=waiter)
    await mark_disconnected(ledger, UnreadAnswer("default", waiter.asked, unread, unread))
    await cancel(ledger, unread)
    late = await submit(ledger, new_id("job"), b"{}", queue="interactive", timeout_ms=0)
    assert await all_due(ledger) == [(EXPIRED_QUEUE, late)]
    assert await expire(ledger, late)


async def a_batchs_life(ledger: Ledger) -> None:
    batch = new_id("batch")
    record = {"total": 3, "shards": 2}
    await open_batch(ledger, batch, template_sha="s", template=b"{}", window_ms=LONG, tenant="default", record=record)
    assert await feed(ledger, batch, 0, [ShardRange(0, 2, 0, 2), ShardRange(2, 1, 2, 1)], queue="bulk") == 2
    await pause(ledger, batch, reason="no room")
    await resume(ledger, batch)
    first, second = f"{batch}.s0", f"{batch}.s1"
    await take(ledger, first, "a", EXPIRED)
    assert await recover(ledger) == [("quarantine", first)]
    attempt = await take(ledger, first, "b")
    assert await beat(ledger, {first: attempt.epoch}) == {}
    assert await prefill(ledger, first, attempt.epoch, [(0, b"Sold")]) == 1
    await checkpoint(ledger, first, attempt.epoch, [CheckpointRow(1, "s", b"x", {"output_tokens": 3})])
    assert await finish_shard(ledger, first, attempt.epoch, "part0")
    assert await refuse_rows(ledger, batch, [(1, "no")]) == 1
    attempt = await take(ledger, second, "a")
    await checkpoint(ledger, second, attempt.epoch, [])
    await cancel(ledger, batch)
    assert await beat(ledger, {second: attempt.epoch}) == {second: "CANCELLED"}
    await release(ledger, second, attempt.epoch, calls="")
    await seal(ledger, batch, queue="bulk")
    join = await take(ledger, f"{batch}.join", "a")
    assert await close(ledger, batch, join.epoch, output="o", errors="e", unfinished=1, left=[second])
    assert await refuse_rows(ledger, batch, [(1, "no")]) == 0
    assert await ledger.client.hmget(ledger.keys.batch(batch), "state", "succeeded", "failed", "cancelled") == [
        b"cancelled",
        b"1",
        b"1",
        b"1",
    ]
    again = new_id("batch")
    await open_batch(
        ledger, again, template_sha="s", template=b"{}", window_ms=LONG, tenant="default", record=record, follows=batch
    )
    assert await ledger.client.hget(ledger.keys.batch(batch), "reasked_as") == again.encode()
    assert await ledger.client.get(ledger.keys.held) == b"0"


async def a_files_life(ledger: Ledger) -> None:
    """Files, the batches over them, and a job of which a part was shown."""
    words = {"tenant": "default", "purpose": "batch", "filename": "a", "size": 1, "max_bytes": 9}
    waiter = WaitingClient("gateway", again=False, asked="1" * 64)
    file = await create_file(ledger, "file-a", creation=Creation("d", waiter=waiter), **words)
    again = Creation("d", waiter=waiter._replace(again=True))
    assert await create_file(ledger, "file-b", creation=again, **words) == file
    await delete_file(ledger, file)
    for does_begin in (True, False):
        batch = new_id("batch")
        await create_batch(
            ledger,
            batch,
            template_sha="s",
            template=b"{}",
            window_ms=LONG,
            tenant="default",
            creation=Creation("d", f"key {does_begin}"),
            record={"tenant": "default"},
        )
        check = await take(ledger, f"{batch}.check", "a")
        if does_begin:
            await begin_batch(ledger, batch, check.epoch, record={"total": 1, "shards": 1})
        else:
            await reject_batch(ledger, batch, check.epoch, rejection="r", reason="no")
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await take(ledger, job, "a")
    await show(ledger, job, attempt.epoch)
    await cancel(ledger, job)
    await shorten(ledger, job, ttl_ms=1)


async def a_breakers_life(ledger: Ledger) -> None:
    assert (await breaker_fail(ledger, "s", "openai/m", process="p", failures=9, interval_ms=0)).state == "open"
    assert (await breaker_probe(ledger, "s", token="t")).state == "probe"
    assert (await ledger_overview(ledger, queue_keys(ledger.namespace))).breakers
    assert (await breaker_close(ledger, "s", process="p", probe="t")).state == "closed"


async def limits_and_answers(ledger: Ledger) -> None:
    scope, model = "rehearsal.0", "rehearsal.1"
    configured = [LimitScope(each, "rehearsal", requests=60, tokens=60, in_flight=2) for each in (scope, model)]
    await limit_configure(ledger, "process", configured)
    await limit_hold(ledger, scope, "rehearsal", wait_ms=0, reason="r", process="process")
    await limit_learn(ledger, model, "rehearsal", requests=30)
    await limit_take(ledger, scope, model, [1, 1], process="process", token="t", call_class="bulk")
    await look_up(ledger, [("a", "job_1"), ("b", "job_1")], process="p", ttl_ms=LONG)
    answers = [Kept(name, "job_1", "set", b"12345678 answer") for name in "ab"]
    await keep_answers(ledger, answers, tenant="t", process="p", ttl_ms=LONG, max_bytes=1, tenant_bytes=1)


async def budgets(ledger: Ledger) -> None:
    await set_tenant_budget(ledger, "default", 10, of_day=True)
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await take(ledger, job, "a")
    assert (await reserve(ledger, job, attempt.epoch, [1, 20], token="t")).count == 1


async def damage(ledger: Ledger) -> None:
    await dead_letter(ledger, "message", b"rubbish", where="bulk", why="no JSON")
    job, batch = new_id("job"), new_id("batch")
    await submit(ledger, job, b"{}", queue="interactive")
    await open_batch(ledger, batch, template_sha="s", template=b"{}", window_ms=LONG, tenant="default", record={})
    await ledger.client.hdel(ledger.keys.job(job), "kind")
    assert len(await evict_damaged(ledger, [job, batch, f"{batch}.s0"], where="due")) == 2


async def test_every_move_stays_in_one_slot(ledger: Witness) -> None:
    assert (await ledger.client.info("cluster"))["cluster_enabled"] == 1
    assert await lead(ledger, "process")
    await announce(ledger, "process", Announcement())
    await a_jobs_life(ledger)
    await a_batchs_life(ledger)
    await a_files_life(ledger)
    await limits_and_answers(ledger)
    await a_breakers_life(ledger)
    await budgets(ledger)
    await damage(ledger)
    assert ledger.sent == {path.stem for path in FOLDER.glob("*.lua")}


class Stream:
    """One job's log: written by a worker's publisher, watched from the start."""

    def __init__(self, reader: Reader, ledger: Ledger, job: str):
        self.ledger = ledger
        self.job = job
        self.key = ledger.keys.job(job)
        self.seen = Transcript()
        self.viewing = asyncio.create_task(self.watch(reader))

    async def watch(self, reader: Reader) -> None:
        with await reader.view(self.key) as viewer:
            async for event in viewer:
                self.seen.add(event)

    async def claimed(self, flusher: Flusher, token: str, lease_ms: int = LONG) -> Publisher:
        claimed = await take(self.ledger, self.job, token, lease_ms)
        return Publisher(flusher, self.job, claimed.epoch, claimed.record)

    async def ended(self, publisher: Publisher, said: str) -> None:
        result = msgspec.json.encode({"completion": {"content": said, "finish_reason": "stop"}})
        end: dict[str, Any] = {"event": b'{"t":"end","status":"succeeded"}', "result": result}
        await publisher.move(
            lambda seq: finish(self.ledger, self.job, publisher.epoch, JobState.SUCCEEDED, seq=seq, **end)
        )
        await self.viewing
        self.seen.check(await self.ledger.client.get(f"{self.key}:result"))


async def have_seen(streams: Sequence[Stream], count: int) -> bool:
    return all(len(stream.seen.events) >= count for stream in streams)


async def say(publishers: Sequence[Publisher], *texts: str) -> None:
    for text in texts:
        for publisher in publishers:
            publisher.put(TextDelta(d=text))
        for publisher in publishers:
            await publisher.settled()


async def test_streams_of_many_jobs(ledger: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's flusher and a reader with its subscriber: begun anew, crashed, compacted, lost and cancelled."""
    monkeypatch.setattr("headrace_worker.publishing.publisher.MAX_EVENTS", 30)
    reader, flusher = Reader(ledger), Flusher(ledger)
    ids = [new_id("job") for _ in range(5)]
    await submit_many(ledger, [(job, b'{"v":1}') for job in ids], queue="interactive", tenant="default", ttl_ms=LONG)
    streams = [Stream(reader, ledger, job) for job in ids]
    anew, crashed, compacted, lost, cancelled = streams
    publishers = [await stream.claimed(flusher, "a", EXPIRED if stream is crashed else LONG) for stream in streams[:4]]
    async with asyncio.timeout(30):
        await say(publishers, "be", "fore ")
        # A new attempt trims the log of the one before: a viewer whose first read came after that would see the new one alone.
        await holds(lambda: have_seen(streams[:4], 3))
        await cancel(ledger, cancelled.job)
        await cancelled.viewing
        assert await ledger.client.client_kill_filter(_type="pubsub") == 1

        await publishers[0].restart("retry")
        assert await recover(ledger) == [("quarantine", crashed.job)]
        publishers[1] = await crashed.claimed(flusher, "b")
        await say(publishers[2:3], *(f"{n} " for n in range(40)))
        await ledger.client.delete(lost.key, f"{lost.key}:log")
        assert await beat(ledger, {lost.job: publishers[3].epoch}) == {lost.job: "UNKNOWN"}
        await say(publishers, "and ", "after")

        counted = "".join(f"{n} " for n in range(40))
        said = ["and after", "and after", f"before {counted}and after", "before and after"]
        for stream, publisher, text in zip(streams[:4], publishers, said, strict=True):
            await stream.ended(publisher, text)
    assert [event["t"] for event in cancelled.seen.decoded] == ["attempt.start", "end"]
    assert "snapshot" in [event["t"] for event in compacted.seen.decoded]
    assert len({id.epoch for id in anew.seen.ids}) == len({id.epoch for id in crashed.seen.ids}) == 2
    assert len({id.epoch for id in lost.seen.ids}) == 1
    assert ledger.together == {"submit", "append"}
    assert {"claim", "restart", "finish", "cancel", "restore", "compact", "beat", "recover"} <= ledger.sent
    await reader.close()


async def test_the_node_would_refuse_keys_of_two_slots(ledger: Ledger) -> None:
    """Otherwise the test above proves nothing."""
    with pytest.raises(Exception, match=r"CROSSSLOT|same slot"):
        await ledger.client.eval("return 1", 2, "{a}:x", "{b}:y")
