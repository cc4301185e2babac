"""Two hundred jobs a minute, watched over both transports on two gateways, for as long as `--soak-minutes` says: afterwards
keys, channels, rooms, tasks and file descriptors are back where they were, and memory has not grown with the jobs."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateways import TwoGateways, rss_mb
from hooked import hooked
from stack import Stack, started
from viewers import Viewer

from headrace import AsyncHeadrace
from headrace.settings import Settings

EVERY_S = 60 / 200
WARM_UP_JOBS = 20
TTL_S = 2
IDLE_S = 30.0
MAX_GROWTH_MB = 20
WORDS = " ".join(f"word{n}" for n in range(60))


class Soak:
    def __init__(self, stack: Stack, gateways: TwoGateways, client: AsyncHeadrace, seed: int):
        self.stack = stack
        self.gateways = gateways
        self.client = client
        self.chance = random.Random(seed)
        self.seen = 0

    async def some(self, count: int) -> None:
        """`count` jobs at that rate, each with none to three viewers, who see the whole."""
        timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as group:
            due = time.monotonic()
            for _ in range(count):
                group.create_task(self.one(session))
                due += EVERY_S
                await asyncio.sleep(max(0, due - time.monotonic()))

    async def one(self, session: aiohttp.ClientSession) -> None:
        chance = random.Random(self.chance.random())
        tps, left = chance.choice([0, 20, 60]), chance.random() < 0.1
        orders = f"[[rehearsal tps={tps}]]" if tps else ""
        job = await self.client.submit("rehearsal/small", f"Say: {WORDS} {orders}", stream=True, ttl_s=TTL_S)
        base = lambda: chance.choice(self.gateways.bases)  # noqa: E731
        viewers = [
            Viewer(session, job.id, base, chance, loyal=chance.random() < 0.5) for _ in range(chance.randrange(4))
        ]
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for viewer in viewers:
                group.create_task(viewer.watch())
            if left:
                group.create_task(self.leave_early(session, job.id))
        for viewer in viewers:
            viewer.seen.check()
            self.seen += 1

    async def leave_early(self, session: aiohttp.ClientSession, job: str) -> None:
        """Somebody who closes the page at the first piece."""
        async with session.get(f"{self.gateways.bases[0]}/v1/jobs/{job}/events") as answer:
            await answer.content.readline()

    async def held(self) -> dict[str, Any]:
        """What may not be more at the end than at the start."""
        redis = self.client.ledger.client
        found: dict[str, Any] = {
            "keys": await redis.dbsize(),
            "channels": len(await redis.pubsub_channels()),
            "clients": len(await redis.client_list()),
        }
        async with aiohttp.ClientSession() as session:
            for name, base in zip(("first", "second"), self.gateways.bases, strict=True):
                async with session.get(f"{base}/healthz") as answer:
                    found |= {
                        f"{name} gateway's {what}": n for what, n in (await answer.json()).items() if what != "status"
                    }
        for name, pid in self.pids().items():
            assert pid is not None
            found[f"{name}'s files"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            found[f"{name}'s threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return found

    def pids(self) -> dict[str, int | None]:
        first, second = self.gateways.pids
        return {"first gateway": first, "second gateway": second, "worker": self.stack.ready["workers"]["interactive"]}

    def memory_mb(self) -> dict[str, float]:
        return {name: round(rss_mb(pid), 1) for name, pid in self.pids().items() if pid}

    async def back_to(self, before: dict[str, Any]) -> None:
        """Until nothing is more than it was; pools may have opened what a busier moment needed."""
        deadline = time.monotonic() + IDLE_S
        while True:
            now = await self.held()
            more = {what: (before[what], n) for what, n in now.items() if n > before[what] + slack(what)}
            if not more:
                return
            assert time.monotonic() < deadline, f"not back where it was, {IDLE_S:g} s after the last job: {more}"
            await asyncio.sleep(0.2)


def slack(what: str) -> int:
    """Connections of a pool (8 for each process at most) are kept, and their files with them."""
    return 8 if what.endswith("files") else 24 if what == "clients" else 2 if what.endswith("threads") else 0


@pytest.mark.slow
async def test_everything_is_back_where_it_was(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    minutes = request.config.getoption("--soak-minutes")
    seed = random.randrange(10**6)
    print(f"SEED={seed}", flush=True)
    environment = hooked("short_life")
    with started(tmp_path, "--no-flower", environment=environment) as stack, TwoGateways(stack) as gateways:
        async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
            soak = Soak(stack, gateways, client, seed)
            await soak.some(WARM_UP_JOBS)
            await asyncio.sleep(TTL_S + 7)  # results expire, and rooms are left after five seconds
            before = await soak.held()
            count = max(1, int(minutes * 60 / EVERY_S))
            await soak.some(count // 2)
            middle = soak.memory_mb()
            await soak.some(count - count // 2)
            await soak.back_to(before)
            after = soak.memory_mb()
            print(
                json.dumps({"jobs": count, "transcripts": soak.seen, "mb": [middle, after], "held": before}), flush=True
            )
            for name, mb in after.items():
                assert mb - middle[name] < MAX_GROWTH_MB, (name, middle, after)
