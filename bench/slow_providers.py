"""Bulk extraction from providers that take their time: how near one worker comes to all its calls being in flight all the time.

`python -m bench.run latency`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.peers import item
from bench.peers.contender import cpu_seconds, family
from bench.report.figures import Figures, Row, row
from bench.scale import progress, scaled
from bench.service import memory_mb, process, stub, valkey
from headrace import AsyncHeadrace
from headrace.settings import Settings

SETTINGS = ((2000, 2.0, 40_000), (500, 0.5, 20_000))
"""Calls in flight, latency in seconds, items: many rounds of calls, so that the last one's end matters little."""


def figures() -> Figures:
    return Figures(
        [each for calls, latency_s, items in SETTINGS for each in rows(calls, latency_s, scaled(items, least=calls))]
    )


def rows(calls: int, latency_s: float, items: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        seconds, used, peak_mb = asyncio.run(measured(Path(folder), calls, latency_s, items))
    share = items / seconds / (calls / latency_s)
    name = f"{calls:,} calls in flight at {latency_s * 1000:g} ms"
    progress(f"latency: {name}, {share:.0%} of the rate, {peak_mb:.0f} MB")
    return [
        row(f"items a second, {name}", items / seconds, "1/s"),
        row(f"CPU of an item, {name}", used / items * 1000, "ms"),
        row(f"share of the possible rate, {name}", share * 100, "%", 90.0),
        row(f"RSS of the worker, {name}", peak_mb, "MB", 200.0, at_most=True),
    ]


async def measured(folder: Path, calls: int, latency_s: float, items: int) -> tuple[float, float, float]:
    """Seconds from the opened batch to its end, CPU seconds of worker and Redis meanwhile, and the worker's peak RSS in MB."""
    with stub(folder, latency_s=latency_s) as url, valkey(folder / "valkey") as server:
        settings = Settings(redis_url=server.url, files=str(folder / "files"))
        environment = {
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "HEADRACE_CALLS": str(calls),
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "stub",
        }
        with process(folder / "ready", "headrace_worker", environment, "--role", "bulk") as worker:
            async with AsyncHeadrace(settings=settings) as client:
                numbers = ({"id": str(number), "number": number} for number in range(items))
                model = f"openai/{item.MODEL}"
                batch = await client.extract(numbers, item.PROMPT, model=model, schema=item.SCHEMA, cache=False)
                pids = (server.pid or 0, *family(worker.pid))
                began, used = time.perf_counter(), cpu_seconds(pids)
                ended = await batch.wait()
                seconds, used = time.perf_counter() - began, cpu_seconds(pids) - used
            if ended.succeeded != items:
                raise SystemExit(f"only {ended.succeeded} of {items} items succeeded")
            return seconds, used, memory_mb(worker.pid, "VmHWM")
