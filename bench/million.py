"""One large batch through one worker: the intake, the rate, and what memory it takes. `make bench-million ITEMS=1000000`.

Redis and the worker must not know how large it is: Redis holds a window of it, the worker the shards under way.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import redis

from bench.peers import item
from bench.peers.contender import cpu_seconds, family
from bench.report.figures import Figures, row
from bench.scale import progress, scaled
from bench.service import memory_mb, process, stub, valkey
from headrace import AsyncHeadrace
from headrace.settings import Settings

ITEMS = int(os.environ.get("BENCH_MILLION_ITEMS") or scaled(1_000_000, least=20_000))
WARM = 10_000
"""Items after which the worker's memory is that of a worker at work."""
MIB = 1024 * 1024
LOOK_S = 0.5


class Measured(NamedTuple):
    """Seconds of the intake, and from there to the end of the batch; the CPU seconds of worker and Redis meanwhile; Redis's peak
    over idle in MiB; the worker's peak RSS in MB; what was seen on the way."""

    intake_s: float
    seconds: float
    cpu_seconds: float
    redis_mib: float
    peak_mb: float
    samples: list[Sample]


class Sample(NamedTuple):
    """The state of the batch at a moment: items that have ended, the worker's RSS in MB."""

    ended: int
    rss_mb: float


def figures() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        batch = asyncio.run(measured(Path(folder)))
    at_work = [each.rss_mb for each in batch.samples if each.ended >= WARM] or [batch.peak_mb]
    growth = max(at_work) / at_work[0]
    name = "the large batch"
    return Figures(
        [
            row(f"items of {name}", ITEMS, ""),
            row(f"lines a second, intake of {name}", ITEMS / batch.intake_s, "1/s", 100_000),
            row(f"items a second, {name}", ITEMS / batch.seconds, "1/s", 4000),
            row(f"CPU of an item, {name}", batch.cpu_seconds / ITEMS * 1000, "ms"),
            row(f"Redis memory over idle, {name}", batch.redis_mib, "MiB", 4.0, at_most=True),
            row(f"RSS of the worker, {name}", batch.peak_mb, "MB", 130.0, at_most=True),
            row(f"RSS of the worker against that after {WARM:,} items, {name}", growth, "ratio", 1.1, at_most=True),
        ]
    )


async def measured(folder: Path) -> Measured:
    source = folder / "items.jsonl"
    with source.open("w") as file:
        file.writelines(f'{{"id": "{number}", "number": {number}}}\n' for number in range(ITEMS))
    with stub(folder) as url, valkey(folder / "valkey") as server:
        settings = Settings(redis_url=server.url, files=str(folder / "files"))
        environment = {
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "stub",
        }
        with process(folder / "ready", "headrace_worker", environment, "--role", "bulk") as worker:
            memory = redis.Redis.from_url(server.url)
            idle = memory.info("memory")["used_memory"]
            async with AsyncHeadrace(settings=settings) as client:
                began = time.perf_counter()
                batch = await client.extract(
                    source, item.PROMPT, model=f"openai/{item.MODEL}", schema=item.SCHEMA, cache=False
                )
                intake_s = time.perf_counter() - began
                progress(f"million: {ITEMS:,} lines taken in, {ITEMS / intake_s:,.0f} a second")
                pids = (server.pid or 0, *family(worker.pid))
                samples, began, used = [], time.perf_counter(), cpu_seconds(pids)
                while not (now := await batch.progress()).ended:
                    samples.append(Sample(now.succeeded + now.failed, memory_mb(worker.pid, "VmRSS")))
                    if len(samples) % 40 == 0:
                        progress(f"million: {samples[-1].ended:,} items, the worker has {samples[-1].rss_mb:.0f} MB")
                    await asyncio.sleep(LOOK_S)
                seconds, used = time.perf_counter() - began, cpu_seconds(pids) - used
            if now.succeeded != ITEMS:
                raise SystemExit(f"only {now.succeeded} of {ITEMS} items succeeded")
            samples.append(Sample(ITEMS, memory_mb(worker.pid, "VmRSS")))
            peak_mib = (memory.info("memory")["used_memory_peak"] - idle) / MIB
            return Measured(intake_s, seconds, used, peak_mib, memory_mb(worker.pid, "VmHWM"), samples)
