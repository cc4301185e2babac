"""The table of keys is the whole truth: what the moves write is in it, with its type, and by the moves it names."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.errors import Finished
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
from headrace.ledger.claim import claim
from headrace.ledger.close import OutputFile, close
from headrace.ledger.compact import compact
from headrace.ledger.create_batch import create_batch
from headrace.ledger.create_file import create_file
from headrace.ledger.creation import Creation
from headrace.ledger.dead_letter import dead_letter
from headrace.ledger.delete_file import delete_file
from headrace.ledger.due import due
from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.expire import expire
from headrace.ledger.feed import feed
from headrace.ledger.finish import finish
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.keep_answers import Kept, keep_answers
from headrace.ledger.keys import KINDS, KeyKind, Keys, batch_of, permanent, shard_number
from headrace.ledger.lead import lead
from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_hold import limit_hold
from headrace.ledger.limit_learn import limit_learn
from headrace.ledger.limit_take import limit_take
from headrace.ledger.look_up import look_up
from headrace.ledger.open import open_batch
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import recover, report_end
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.reject_batch import reject_batch
from headrace.ledger.release import release
from headrace.ledger.reserve import reserve
from headrace.ledger.restart import restart
from headrace.ledger.restore import restore
from headrace.ledger.resume import resume
from headrace.ledger.script import FOLDER, Argument, Ledger
from headrace.ledger.seal import seal
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.shorten import shorten
from headrace.ledger.show import show
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.ledger.unread import UnreadAnswer, WaitingClient, mark_disconnected

EXPIRED, LONG = -1, 10**9
MOVES = {path.stem for path in FOLDER.glob("*.lua")}
# Written by no move: a worker and a client do it at their start.
BY_OTHERS = {"store", "gateway:<id>", "chat:<tenant>:<sha>", "choice:<sha>", "cache_secret", "warm:<sha>"}
BY_OTHERS |= {"answer_files:<tenant>:<sha>"}


def bill_of(epoch: int) -> str:
    return f"{epoch} 0 7 0 0 0 1 2 3 0 0"


def kind_of(key: str) -> KeyKind:
    tag, _, name = key.partition(":")
    assert re.fullmatch(r"\{\w+\}", tag), f"{key} has no tag"
    found = [kind for kind in KINDS if re.fullmatch(re.sub(r"<\w+>", "[^:]+", re.escape(kind.pattern)), name)]
    assert len(found) == 1, f"{key} is declared {len(found)} times"
    return found[0]


class Watched(Ledger):
    """A ledger that sees which keys each of its moves writes."""

    def __init__(self, ledger: Ledger):
        super().__init__(ledger.client, ledger.namespace)
        self.written: dict[str, set[str]] = defaultdict(set)  # pattern of a key -> moves
        self.types: dict[str, set[str]] = defaultdict(set)
        self.left_ms: dict[str, int] = {}  # of the keys that were there at the last look; -1: for ever

    async def run(
        self,
        name: str,
        subject: str,
        keys: dict[str, str],
        arguments: dict[str, Argument],
        rest: Sequence[Argument] = (),
    ) -> list[bytes]:
        before, began = await self.contents(), time.monotonic()
        left_ms = dict(self.left_ms)
        try:
            return await super().run(name, subject, keys, arguments, rest)
        finally:
            after = await self.contents()
            passed_ms = (time.monotonic() - began) * 1000 + 1000
            for key in before.keys() | after.keys():
                has_run_out = key not in after and 0 <= left_ms[key] <= passed_ms
                if before.get(key) != after.get(key) and not has_run_out:
                    self.written[kind_of(key).pattern].add(name)

    async def contents(self) -> dict[str, Any]:
        names = [raw async for raw in self.client.scan_iter(f"{self.keys.prefix}:*", count=1000)]
        read = self.client.pipeline(transaction=False)
        for raw in names:
            read.type(raw).pttl(raw)
        answers = await read.execute()
        found = []
        for raw, kind, left_ms in zip(names, answers[::2], answers[1::2], strict=True):
            self.types[kind_of(raw.decode()).pattern].add(kind.decode())
            found.append(left_ms >= 0)
            self.left_ms[raw.decode()] = left_ms
            if kind == b"zset":
                read.zrange(raw, 0, -1, withscores=True)
            elif kind == b"stream":
                read.xrange(raw)
            elif kind == b"list":
                read.lrange(raw, 0, -1)
            else:
                read.execute_command("HGETALL" if kind == b"hash" else "GET", raw)
        return dict(zip([raw.decode() for raw in names], zip(await read.execute(), found, strict=True), strict=True))

    async def new_job(self) -> str:
        return await submit(self, new_id("job"), b"{}", queue="bulk", idempotency_key=new_id("job"))

    async def take(self, record_id: str, token: str, lease_ms: int = LONG) -> Any:
        queue = (await self.client.hget(self.keys.record(record_id), "queue")).decode()
        return await claim(self, record_id, token=token, owner="w", queue=queue, lease_ms=lease_ms)

    async def all_due(self) -> None:
        for member in await self.client.zrange(self.keys.due, 0, -1):
            await self.client.zadd(self.keys.due, {member: 0})
        await due(self)


async def live_the_lives_of_jobs(ledger: Watched) -> None:
    await set_tenant_budget(ledger, "default", 100, of_day=True)
    await lead(ledger, "process", lease_ms=LONG)
    await announce(ledger, "process", Announcement(), life_ms=LONG)  # or it ends while another move is looked at
    await limit_configure(ledger, "process", [LimitScope("rehearsal.0", "rehearsal", requests=60)])
    await limit_hold(ledger, "rehearsal.1", "rehearsal", wait_ms=0, reason="r", process="process")
    await limit_hold(ledger, "rehearsal.0", "rehearsal", wait_ms=0, reason="r", process="process")
    await limit_learn(ledger, "rehearsal.0", "rehearsal", requests=30)
    await limit_learn(ledger, "rehearsal.2", "rehearsal", requests=30)
    await limit_take(ledger, "rehearsal.0", "rehearsal.0", [1], process="process", token="t", call_class="bulk")
    job = await ledger.new_job()
    await ledger.all_due()
    await ledger.take(job, "a", EXPIRED)
    await recover(ledger)
    for token in "bcd":  # until it is dead
        await ledger.take(job, token)
        await report_end(ledger, "w")
    waiter = WaitingClient("gateway", again=False, asked="0" * 64)
    token = await submit(ledger, new_id("job"), b"{}", queue="interactive", waiter=waiter)
    await mark_disconnected(ledger, UnreadAnswer("default", waiter.asked, token, token))
    job = await ledger.new_job()
    attempt = await ledger.take(job, "a")
    await reserve(ledger, job, attempt.epoch, [5], token="t")
    await park(ledger, job, attempt.epoch, delay_ms=0, calls="1:0", reason="rate_limited", bill=bill_of(attempt.epoch))
    await ledger.all_due()
    attempt = await ledger.take(job, "b")
    await release(ledger, job, attempt.epoch, calls="1:0", bill=bill_of(attempt.epoch))
    await ledger.client.hset(
        ledger.keys.job(job), "reserved_nano_usd", 5
    )  # of an attempt that could not say how it ended
    attempt = await ledger.take(job, "c")
    await beat(ledger, {job: attempt.epoch}, process="w", lease_ms=LONG // 2)
    epoch = await restart(ledger, job, attempt.epoch, token="r", reason="retry")
    await append(ledger, job, epoch, 2, [b"{}"])
    await compact(ledger, job, epoch, 3, b"{}")
    await ledger.client.delete(ledger.keys.job(job), f"{ledger.keys.job(job)}:log")
    await ledger.client.zrem(ledger.keys.jobs("default"), job)
    record = {**attempt.record, "restarted": b"r"}
    await restore(ledger, job, epoch, record, [b"{}", b"{}"], lease_ms=LONG)
    await finish(ledger, job, epoch, JobState.SUCCEEDED, seq=3, event=b"{}", result=b"{}", counters={"jobs": 1})
    job = await ledger.new_job()
    attempt = await ledger.take(job, "a", EXPIRED)
    await recover(ledger)
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")  # comes home late
    await cancel(ledger, await ledger.new_job())
    await beat(ledger, {}, process="w")
    await report_end(ledger, "w")
    job = await ledger.new_job()
    await ledger.client.hset(ledger.keys.job(job), "expires", 0)
    await expire(ledger, job)
    job = await ledger.new_job()
    attempt = await ledger.take(job, "a", EXPIRED)
    await show(ledger, job, attempt.epoch)
    await shorten(ledger, job, ttl_ms=10**6)
    await recover(ledger)
    with pytest.raises(Finished):
        await ledger.take(job, "b")
    await shorten(ledger, job, ttl_ms=10**5)


async def set_damage_aside(ledger: Watched) -> None:
    await dead_letter(ledger, "message", b"rubbish", where="bulk", why="no JSON")
    jobs = [await ledger.new_job(), await ledger.new_job()]
    batch = new_id("batch")
    await open_batch(ledger, batch, template_sha="s", template=b"{}", window_ms=LONG, tenant="default", record={})
    await open_batch(
        ledger, of_shard := new_id("batch"), template_sha="s", template=b"{}", window_ms=LONG, tenant="default",
        record={"total": 1, "shards": 1},
    )  # fmt: skip
    await feed(ledger, of_shard, 0, [ShardRange(0, 1, 0, 1)], queue="bulk")
    await ledger.take(jobs[0], "a")
    await ledger.take(f"{of_shard}.s0", "a")
    await ledger.client.hset(f"{ledger.keys.batch(batch)}:parts", "0", "p")
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"total": 1, "succeeded": 1})
    await refuse_rows(ledger, batch, [(0, "no")])
    await ledger.client.hdel(ledger.keys.batch(batch), "total")
    for record in (*jobs, f"{of_shard}.s0"):
        await ledger.client.hdel(ledger.keys.record(record), "kind")
    await evict_damaged(ledger, [*jobs, batch, f"{of_shard}.s0"], where="due")


async def live_the_lives_of_batches(ledger: Watched) -> None:
    for cancelled in (False, True):
        batch = new_id("batch")
        await open_batch(
            ledger,
            batch,
            template_sha="s",
            template=b"{}",
            window_ms=LONG,
            tenant="default",
            record={"total": 2, "shards": 2, "tenant": "default", "output_expires_s": 9},
            work="w",
            creation=Creation(
                "d", *(("opened", None) if cancelled else (None, WaitingClient("gateway", again=False, asked="2" * 64)))
            ),
        )
        await feed(ledger, batch, 0, [ShardRange(0, 1, 0, 1), ShardRange(1, 1, 1, 1)], queue="bulk")
        await set_batch_budget(ledger, batch, 100)
        await pause(ledger, batch, reason="no room")
        await resume(ledger, batch)
        first, second = f"{batch}.s0", f"{batch}.s1"
        await ledger.take(first, "a", EXPIRED)
        await recover(ledger)
        attempt = await ledger.take(first, "b")
        await park(ledger, first, attempt.epoch, delay_ms=0, calls="", reason="rate_limited")
        await ledger.all_due()
        attempt = await ledger.take(first, "c")
        await release(ledger, first, attempt.epoch, calls="")
        attempt = await ledger.take(first, "d")
        await beat(ledger, {first: attempt.epoch}, lease_ms=LONG // 2)
        await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)  # a quarter of a second later
        await reserve(ledger, first, attempt.epoch, [50, 500], token="t")  # the second pauses the batch
        bill = bill_of(attempt.epoch)
        await checkpoint(ledger, first, attempt.epoch, [CheckpointRow(0, "s", b"x")], bill=bill, lease_ms=LONG)
        await resume(ledger, batch)
        await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)
        await finish_shard(ledger, first, attempt.epoch, "part0")
        attempt = await ledger.take(second, "a")
        await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)
        await prefill(ledger, second, attempt.epoch, [(0, b"Sold")])
        if cancelled:
            await cancel(ledger, batch)
            await release(ledger, second, attempt.epoch, calls="")
            await ledger.client.hset(ledger.keys.shard(second), "reserved_nano_usd", 5)
        else:
            await checkpoint(ledger, second, attempt.epoch, [], lease_ms=EXPIRED)
            await recover(ledger)
            await finish_shard(ledger, second, attempt.epoch, "part1")
        await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)
        await refuse_rows(ledger, batch, [(0, "no")])
        await seal(ledger, batch, queue="bulk")
        join = await ledger.take(f"{batch}.join", "a", EXPIRED if cancelled else LONG)
        await recover(ledger)
        await close(
            ledger,
            batch,
            join.epoch,
            output="o",
            errors="e",
            unfinished=0,
            left=[second] * cancelled,
            output_file=OutputFile(f"file-{batch}", 1),
        )
    await live_the_lives_of_files(ledger)


async def live_the_lives_of_files(ledger: Watched) -> None:
    """Uploads, and the batches over them."""
    waiter = WaitingClient("gateway", again=False, asked="1" * 64)
    for key in ("key", None):
        made = await create_file(
            ledger,
            f"file-{key}",
            tenant="default",
            purpose="batch",
            filename="a",
            size=1,
            max_bytes=9,
            creation=Creation("d", key, None if key else waiter),
            expires_s=1,
        )
        await delete_file(ledger, made)
    for end in ("begin", "begin late", "reject", "reject late", "cancel"):
        batch = new_id("batch")
        await create_batch(
            ledger,
            batch,
            template_sha=end.replace(" ", ""),
            template=b"{}",
            window_ms=LONG,
            tenant="default",
            creation=Creation(end, "key") if "late" in end else Creation(end, waiter=waiter._replace(asked="2" * 64)),
            record={"tenant": "default"},
        )
        check = await ledger.take(f"{batch}.check", "a", EXPIRED if "late" in end else LONG)
        await recover(ledger)
        if "begin" in end:
            await begin_batch(ledger, batch, check.epoch, record={"total": 1, "shards": 1})
        elif "reject" in end:
            await reject_batch(ledger, batch, check.epoch, rejection="r", reason="no")
        else:
            await cancel(ledger, batch)


async def pass_answers_on(ledger: Watched) -> None:
    for _ in range(2):
        await look_up(ledger, [("a", "job_1")], process="p", ttl_ms=LONG)
        await keep_answers(
            ledger,
            [Kept("a", "job_1", "set", b"an answer")],
            tenant="default",
            process="p",
            ttl_ms=LONG,
            max_bytes=LONG,
        )


async def open_and_close_a_breaker(ledger: Watched) -> None:
    await breaker_fail(ledger, "s", "openai/gpt", process="p", failures=5, interval_ms=0)
    await breaker_probe(ledger, "s", token="t")
    await breaker_close(ledger, "s", process="p", probe="t")


async def test_the_moves_write_the_declared_keys_and_no_others(ledger: Ledger) -> None:
    """`kind_of` refuses a key that is not declared; the rest is compared with the table, row by row."""
    watched = Watched(ledger)
    await live_the_lives_of_jobs(watched)
    await live_the_lives_of_batches(watched)
    await set_damage_aside(watched)
    await pass_answers_on(watched)
    await open_and_close_a_breaker(watched)
    assert {kind.pattern: {kind.type} for kind in KINDS if kind.pattern not in BY_OTHERS} == watched.types
    declared = {kind.pattern: set(kind.moves.split()) for kind in KINDS if kind.pattern not in BY_OTHERS}
    for pattern, moves in watched.written.items():
        assert declared[pattern] == moves, pattern


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.pattern)
def test_the_moves_of_a_key_are_moves(kind: KeyKind) -> None:
    assert kind.pattern in BY_OTHERS or set(kind.moves.split()) <= MOVES
    assert kind.type in {"hash", "list", "stream", "string", "zset"}
    assert kind.lifetime


def test_only_what_is_declared_permanent_may_stay() -> None:
    keys = Keys("hr")
    for key in (keys.due, keys.leases, keys.open, keys.held, keys.jobs("acme"), keys.spend("acme")):
        assert permanent(key)
    for key in (keys.job("job_x"), f"{keys.job('job_x')}:log", keys.template("sha"), keys.leader, "{hr}:undeclared"):
        assert not permanent(key)


def test_every_key_has_the_tag_of_its_namespace() -> None:
    keys = Keys("test")
    names = [
        keys.due,
        keys.job("job_x"),
        keys.shard("batch_x.s1"),
        keys.idempotency("acme", "k: }{"),
        keys.template("s"),
    ]
    assert all(kind_of(name) and name.startswith("{test}:") for name in names)


def test_an_id_says_what_it_is() -> None:
    keys = Keys("hr")
    assert (batch_of("batch_x.s17"), shard_number("batch_x.s17")) == ("batch_x", "17")
    assert (batch_of("batch_x.join"), shard_number("batch_x.join")) == ("batch_x", "")
    assert (batch_of("job_x"), shard_number("job_x")) == ("-", "")
    assert (keys.record("job_x"), keys.record("batch_x.s1")) == (keys.job("job_x"), keys.shard("batch_x.s1"))
