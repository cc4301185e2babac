"""Random joins, leaves and resumes of many viewers on two readers, while writers crash, begin anew and write as zombies,
connections are killed and paused under them, and the server is emptied. Every transcript is the whole. `SEED=…` runs one
seed again. The same with processes in place of tasks: `test_stream_chaos.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable

import pytest
from headrace_worker.publishing.publisher import Flusher, Publisher
from redis.exceptions import RedisError
from transcript import Transcript

from headrace.errors import Refused, Unknown
from headrace.events.ids import START, EventId
from headrace.events.reader import Reader
from headrace.events.types import ReasoningDelta, TextDelta, ToolDelta, ToolStart
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer
from headrace.waiting import stop

SEEDS = 3
VIEWERS = 25
JOBS = 3
EVENTS = 250
LONG, EXPIRED = 10**9, -1
KINDS = (TextDelta, TextDelta, TextDelta, ReasoningDelta, ToolDelta)
TOOL = ToolStart(call_id="call_1", name="f")


class Scene:
    """One seed: its jobs, who writes them, who watches, and what happens to them."""

    def __init__(self, port: int, namespace: str, seed: int):
        url = f"redis://127.0.0.1:{port}/0"
        self.chance = random.Random(seed)
        self.ledgers = [Ledger.at(url, namespace, retries=10) for _ in range(3)]
        self.writing, *watching = self.ledgers
        self.readers = [Reader(watching[0]), Reader(watching[1], buffer_bytes=4000)]
        self.flusher = Flusher(self.writing)
        self.jobs: list[str] = []
        # The server is emptied only while each job has somebody who would restore it, and no zombie that could: for as
        # long as a record is lost nobody can refuse a zombie (`test_restore.py` says who wins then).
        self.held: set[str] = set()
        self.emptying = asyncio.Lock()
        self.written_s: dict[str, dict[EventId, float]] = {}
        self.refused = 0
        self.paused_s: list[tuple[float, float]] = []

    async def run(self) -> None:
        self.jobs = [await submit(self.writing, new_id("job"), b'{"v":1}', queue="interactive") for _ in range(JOBS)]
        viewers = [asyncio.create_task(self.watch(number)) for number in range(VIEWERS)]
        writers = [asyncio.create_task(self.write(job)) for job in self.jobs]
        chaos = asyncio.create_task(self.disturb())
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*writers)
                chaos.cancel()
                await asyncio.gather(*viewers)
        finally:
            await stop(*viewers, *writers, chaos)
            for reader in self.readers:
                await reader.close()
            for ledger in self.ledgers:
                await ledger.close()

    async def begin(self, job: str, lease_ms: int) -> Publisher:
        token = f"{self.chance.random()}"
        while True:
            with contextlib.suppress(RedisError, OSError):
                queue = (await self.writing.client.hget(self.writing.keys.job(job), "queue")).decode()
                claimed = await claim(self.writing, job, token=token, owner="w", queue=queue, lease_ms=lease_ms)
                return Publisher(self.flusher, job, claimed.epoch, claimed.record)

    async def write(self, job: str) -> None:
        chance, times = self.chance, self.written_s.setdefault(job, {})
        await asyncio.sleep(chance.uniform(0, 0.3))
        crash_at = chance.randrange(EVENTS) if chance.random() < 0.6 else None
        restarts = {chance.randrange(EVENTS) for _ in range(chance.choice([0, 0, 1, 2]))}
        publisher = await self.begin(job, EXPIRED if crash_at is not None else LONG)
        if crash_at is None:
            self.held.add(job)
        publisher.put(TOOL)
        for n in range(EVENTS):
            if n == crash_at:
                zombie = publisher
                while (await self.writing.client.hget(self.writing.keys.job(job), "state")) == b"running":
                    await recover(self.writing)
                publisher = await self.begin(job, LONG)
                zombie.put(TextDelta(d="BOO"))
                with contextlib.suppress(Refused):
                    await zombie.settled()
                    raise AssertionError("a zombie wrote")
                self.held.add(job)
                self.refused += 1
                publisher.put(TOOL)
            if n in restarts:
                await publisher.restart("retry")
                publisher.put(TOOL)
            publisher.put(chance.choice(KINDS)(d=f"{n}" * chance.choice([1, 1, 1, 30])))
            if chance.random() < 0.7:
                before = publisher.next_seq
                seq = await publisher.settled()
                times |= {EventId(publisher.epoch, each): time.monotonic() for each in range(before, seq)}
            if chance.random() < 0.4:
                await asyncio.sleep(chance.uniform(0, 0.015))
        message = publisher.fold.message
        completion = {**message, "finish_reason": "stop"}
        import msgspec

        result = msgspec.json.encode({"completion": completion})
        end = b'{"t":"end","status":"succeeded"}'
        async with self.emptying:
            await publisher.move(
                lambda seq: finish(
                    self.writing, job, publisher.epoch, JobState.SUCCEEDED, seq=seq, event=end, result=result
                )
            )
            self.held.discard(job)

    async def watch(self, number: int) -> None:
        chance = random.Random(self.chance.random())
        job, slow, loyal = chance.choice(self.jobs), number % 5 == 0, number % 3 == 0
        await asyncio.sleep(chance.uniform(0, 1.5))
        seen, cursor, joined_s = Transcript(), START, time.monotonic()
        while not seen.events or not seen.events[-1].data.startswith(b'{"t":"end"'):
            stay = 10_000 if loyal else chance.randrange(1, 150)
            try:
                viewer = await chance.choice(self.readers).view(self.writing.keys.job(job), cursor)
            except Unknown:  # it is being restored
                await asyncio.sleep(0.01)
                continue
            with viewer, contextlib.suppress(Unknown):
                async for event in viewer:
                    seen.add(event, time.monotonic(), joined_s)
                    cursor = event.id
                    stay -= 1
                    if slow and chance.random() < 0.1:
                        await asyncio.sleep(0.02)
                    if not stay:
                        break
        outcome = await self.writing.client.get(f"{self.writing.keys.job(job)}:result")
        seen.check(outcome)
        if loyal and not slow:
            seen.check_never_stalled(self.written_s[job], self.paused_s)

    async def disturb(self) -> None:
        client, chance = self.writing.client, self.chance
        flushes = chance.choice([0, 1])
        while True:
            await asyncio.sleep(chance.uniform(0.01, 0.15))
            with contextlib.suppress(RedisError, OSError):
                what = chance.choice(["pubsub", "pubsub", "normal", "pause", "flush"])
                if what == "pause":
                    began = time.monotonic()
                    await client.execute_command("CLIENT", "PAUSE", chance.randrange(10, 120))
                    await client.ping()  # the server looks only ten times a second whether the pause is over
                    self.paused_s.append((began, time.monotonic()))
                elif what == "flush":
                    async with self.emptying:
                        if flushes and len(self.held) == JOBS:
                            flushes -= 1
                            await client.flushall()
                else:
                    await client.client_kill_filter(_type=what, skipme=False)


async def test_chaos(
    own_valkey: Callable[..., EmbeddedServer], namespace: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("headrace_worker.publishing.publisher.MAX_EVENTS", 120)
    port = free_port()
    own_valkey("--bind", "127.0.0.1", "--port", str(port), "--appendonly", "no")
    given = os.environ.get("SEED")
    rounds = SEEDS * request.config.getoption("--chaos-rounds")
    seeds = [int(given)] if given else [random.randrange(10**6) for _ in range(rounds)]
    for number, seed in enumerate(seeds):
        print(f"SEED={seed}", flush=True)
        began = time.monotonic()
        await Scene(port, f"{namespace}{number}", seed).run()
        print(f"took {time.monotonic() - began:.1f} s", flush=True)
