"""Streams under random faults, in processes: a worker and two gateways are killed, the worker is stopped past its lease,
connections to Redis are killed and held up, while 25 viewers come, leave and come back over server-sent events and
WebSockets. Every transcript is the ledger's. `SEED=…` runs one seed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from gateways import TwoGateways, killed
from headrace_rehearsal import account
from hooked import hooked
from redis.exceptions import RedisError
from stack import Stack, started
from transcript import Transcript
from viewers import Viewer

from headrace import AsyncHeadrace
from headrace.events.ids import START, Event, EventId
from headrace.settings import Settings
from headrace.waiting import stop

SEEDS = 5
VIEWERS = 25
JOBS = 4
MODEL = "rehearsal/small"
WORDS = " ".join(f"word{n}" for n in range(90))
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"places": {"type": "string", "minLength": 400}}},
    },
}  # fmt: skip
LOOK_S = 0.02
SLOW_ANSWER_S = 0.1


class Scene:
    """One seed: its jobs, who watches them, and what happens meanwhile."""

    def __init__(self, stack: Stack, gateways: TwoGateways, client: AsyncHeadrace, seed: int):
        self.stack = stack
        self.gateways = gateways
        self.client = client
        self.chance = random.Random(seed)
        self.jobs: list[str] = []
        self.cancelled: str | None = None
        self.written_s: dict[str, dict[EventId, float]] = {}
        self.away_s: list[tuple[float, float]] = []
        self.did: list[str] = []

    @property
    def redis(self) -> Any:
        return self.client.ledger.client

    def base(self) -> str:
        return self.chance.choice(self.gateways.bases)

    async def run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
            self.jobs = [await self.submit(number) for number in range(JOBS)]
            if self.chance.random() < 0.4:
                self.cancelled = self.jobs[0]
            viewers = [self.viewer(session, number) for number in range(VIEWERS)]
            watching = [asyncio.create_task(self.join(viewer)) for viewer in viewers]
            beside = [self.disturb(), self.look(), self.cancel(session), *map(self.probe, self.gateways.bases)]
            others = [asyncio.create_task(work) for work in beside]
            try:
                async with asyncio.timeout(90):
                    await asyncio.gather(*watching)
            except BaseException:
                self.tell(viewers)
                raise
            finally:
                await stop(*watching, *others)
            for task in others:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            try:
                await self.check(session, viewers)
            except BaseException:
                self.tell(viewers)
                raise

    def viewer(self, session: aiohttp.ClientSession, number: int) -> Viewer:
        chance = random.Random(self.chance.random())
        job = chance.choice(self.jobs)
        return Viewer(session, job, self.base, chance, loyal=number % 3 == 0, slow=number % 5 == 0)

    async def submit(self, number: int) -> str:
        """One plain job, one that the provider breaks off in the middle, one with a call of a tool, and any of these."""
        kind = number if number < 3 else self.chance.randrange(3)
        orders = f"tps={self.chance.randrange(25, 60)}"
        words: dict[str, Any] = {}
        if kind == 1:
            orders += f",fault=cut,after={self.chance.randrange(1, 60)},times=1"
            words = {"on_retry": "reset"}
        elif kind == 2:
            words = {"tools": [TOOL], "tool_choice": "required"}
        job = await self.client.submit(MODEL, f"Say: {WORDS} {number} [[rehearsal {orders}]]", stream=True, **words)
        return job.id

    async def join(self, viewer: Viewer) -> None:
        await asyncio.sleep(self.chance.uniform(0, 2.5))
        await viewer.watch()

    async def disturb(self) -> None:
        """A worker is lost at most twice for the same job: the third time it would be in quarantine."""
        chance = self.chance
        left = {
            "worker": chance.choice([1, 1, 2]),
            "gateway": chance.choice([1, 2, 3]),
            "stop": chance.choice([0, 0, 1]),
        }
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            what = chance.choice(["pubsub", "pubsub", "normal", "pause", "worker", "gateway", "gateway", "stop"])
            if what in left:
                if not left[what]:
                    continue
                left[what] -= 1
            self.did.append(f"{time.monotonic():.2f} {what}")
            with contextlib.suppress(RedisError, OSError):
                await self.do(what)

    async def do(self, what: str) -> None:
        worker = self.stack.ready["workers"]["interactive"]
        if what == "worker":
            killed(worker)
        elif what == "gateway":
            self.gateways.kill(self.chance.randrange(2))
        elif what == "stop":
            killed(worker, signal.SIGSTOP)
            try:
                await asyncio.sleep(2.5)
            finally:
                killed(worker, signal.SIGCONT)
        elif what == "pause":
            began = time.monotonic()
            await self.redis.execute_command("CLIENT", "PAUSE", self.chance.randrange(10, 120))
            await self.redis.ping()  # the server looks only ten times a second whether the pause is over
            self.away_s.append((began, time.monotonic()))
        else:
            await self.redis.client_kill_filter(_type=what, skipme=False)

    async def look(self) -> None:
        """When each event was seen in its log first; keeps the second gateway running, too."""
        last = dict.fromkeys(self.jobs, START)
        while True:
            self.gateways.tick()
            for job in self.jobs:
                with contextlib.suppress(RedisError, OSError):
                    for id, _ in await self.log(job, last[job]):
                        self.written_s.setdefault(job, {})[id] = time.monotonic()
                        last[job] = id
            await asyncio.sleep(LOOK_S)

    async def log(self, job: str, after: EventId = START) -> list[Event]:
        entries = await self.redis.xrange(f"{self.client.ledger.keys.job(job)}:log", min=f"({after}")
        return [Event(EventId.parse(id.decode()), fields[b"d"]) for id, fields in entries]

    async def probe(self, base: str) -> None:
        """How long a gateway that is there needs for the smallest answer: what is slow for everyone is no stall of ours."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                began = time.monotonic()
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{base}/healthz") as answer:
                        await answer.read()
                        if time.monotonic() - began > SLOW_ANSWER_S:
                            self.away_s.append((began, time.monotonic()))
                await asyncio.sleep(0.03)

    async def cancel(self, session: aiohttp.ClientSession) -> None:
        if self.cancelled is None:
            return
        await asyncio.sleep(self.chance.uniform(0.1, 3))
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.post(f"{self.base()}/v1/jobs/{self.cancelled}/cancel") as answer:
                    if answer.status in (200, 202, 409):  # it may have ended before
                        self.did.append(f"{time.monotonic():.2f} cancel {await answer.text()}")
                        return
                    assert answer.status == 503, await answer.text()
            await asyncio.sleep(0.05)

    async def check(self, session: aiohttp.ClientSession, viewers: list[Viewer]) -> None:
        """Every transcript, those who come now as well, is the ledger's; nobody waited; nothing was asked for too often."""
        for job in self.jobs:
            key = self.client.ledger.keys.job(job)
            late = Viewer(session, job, self.base, self.chance)
            async with asyncio.timeout(40):  # it may be one that nobody has watched, and which runs
                await late.watch()
            log, outcome = await self.log(job), await self.redis.get(f"{key}:result")
            n, state = await self.redis.hmget(key, "n", "state")
            assert state == b"succeeded" or (job == self.cancelled and state == b"cancelled"), (job, state, outcome)
            self.check_one(late.seen, log, outcome)
            for viewer in viewers:
                if viewer.job == job:
                    self.check_one(viewer.seen, log, outcome)
                    if viewer.loyal and not viewer.slow:
                        viewer.seen.check_never_stalled(self.written_s[job], self.away_s)
            assert len(self.calls_of(job)) <= int(n)

    def check_one(self, seen: Transcript, log: list[Event], outcome: bytes | None) -> None:
        seen.check(outcome)
        last = [
            (event.id, msgspec.json.decode(event.data)) for event in seen.events if event.id.epoch == log[-1].id.epoch
        ]
        assert last == [(event.id, msgspec.json.decode(event.data)) for event in log]

    def calls_of(self, job: str) -> list[account.AccountedCall]:
        return [call for call in self.stack.calls() if (call.request_id or "").startswith(job)]

    def tell(self, viewers: list[Viewer]) -> None:
        """What a failure is understood by."""
        print("did:", *self.did, sep="\n  ")
        for viewer in viewers:
            where = viewer.seen.ids[-1] if viewer.seen.events else None
            print(f"{viewer.job}: {len(viewer.seen.events)} events to {where}, ended={viewer.ended}")


async def test_chaos(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    given = os.environ.get("SEED")
    rounds = SEEDS * request.config.getoption("--chaos-rounds")
    seeds = [int(given)] if given else [random.randrange(10**6) for _ in range(rounds)]
    environment = hooked("short_lease")
    with started(tmp_path, "--no-flower", environment=environment) as stack, TwoGateways(stack) as gateways:
        async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
            for seed in seeds:
                print(f"SEED={seed}", flush=True)
                began = time.monotonic()
                scene = Scene(stack, gateways, client, seed)
                await scene.run()
                print(f"took {time.monotonic() - began:.1f} s: {json.dumps(scene.did)}", flush=True)
