"""Bulk extraction against a raw stub at 0 ms, beside `asyncio.gather` over `AsyncOpenAI`, alternating in one run.

Figures are ratios: machines are shared and noisy. CPU seconds of the service are those of the worker (which tends too)
and of Valkey.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from stub import SCHEMA
from table import row

from headrace.batches.template import Item, Template
from headrace.client.async_client import AsyncHeadrace
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings

HERE = Path(__file__).parent
ITEMS = int(os.environ.get("BENCH_ITEMS", "20000"))
ROUNDS = 2
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def rows() -> list[dict[str, object]]:
    """Bulk against `gather`, and Redis's memory."""
    with tempfile.TemporaryDirectory() as folder, stub(Path(folder)) as url:
        totals = {"headrace": [0.0, 0.0], "default": [0.0, 0.0], "aiohttp": [0.0, 0.0]}
        for number in range(ROUNDS):
            for transport in ("default", "aiohttp"):
                add(totals, transport, gather(url, ITEMS // ROUNDS, transport))
            with service(Path(folder) / f"round{number}", url) as running:
                add(totals, "headrace", running.extract(ITEMS // ROUNDS))
        # A peak grows with the time one looks: the large batch is held against ten small ones, which last as long.
        small = [peak_mib(Path(folder) / f"small{number}", url, ITEMS // 10) for number in range(10)]
        large = peak_mib(Path(folder) / "large", url, ITEMS)
    per_cpu = {name: ITEMS / cpu for name, (_, cpu) in totals.items()}
    return [
        row("items per CPU-second, headrace", per_cpu["headrace"], "1/s"),
        row("items per CPU-second, gather on the default transport", per_cpu["default"], "1/s"),
        row("items per CPU-second, gather on aiohttp", per_cpu["aiohttp"], "1/s"),
        row(
            "items per CPU-second vs gather, default transport", per_cpu["headrace"] / per_cpu["default"], "ratio", 1.0
        ),
        row("items per CPU-second vs gather, aiohttp", per_cpu["headrace"] / per_cpu["aiohttp"], "ratio"),
        row("items per second vs gather, default transport", totals["default"][0] / totals["headrace"][0], "ratio"),
        row(f"Redis memory over idle at {ITEMS} items", large, "MiB", 64.0, at_most=True),
        row(
            "Redis memory, ten times the items (peak of ten small batches)",
            large / max(small),
            "ratio",
            1.1,
            at_most=True,
        ),
        row("Redis memory, ten times the items (mean of ten small batches)", large * 10 / sum(small), "ratio"),
    ]


def add(totals: dict[str, list[float]], name: str, measured: tuple[float, float]) -> None:
    for index, value in enumerate(measured):
        totals[name][index] += value
    print(f"  {name}: {measured[0]:.1f} s, {measured[1]:.1f} CPU s", file=sys.stderr)


@contextmanager
def stub(folder: Path) -> Iterator[str]:
    ready = folder / "stub"
    process = subprocess.Popen([sys.executable, str(HERE / "stub.py"), str(ready)])
    try:
        wait_for(ready, process)
        yield ready.read_text()
    finally:
        process.kill()
        process.wait()


def peak_mib(folder: Path, url: str, items: int) -> float:
    with service(folder, url) as running:
        running.extract(items)
        return running.peak_mib


def gather(url: str, items: int, transport: str) -> tuple[float, float]:
    command = [sys.executable, str(HERE / "gather.py"), url, str(items), transport]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return measured["seconds"], measured["cpu_seconds"]


class Running:
    """A Valkey and one bulk worker."""

    def __init__(self, server: EmbeddedServer, worker: subprocess.Popen[bytes], files: Path):
        self.server = server
        self.worker = worker
        self.settings = Settings(files=str(files))
        self.client = redis.Redis.from_url(server.url)
        self.idle = self.client.info("memory")["used_memory"]

    def extract(self, items: int) -> tuple[float, float]:
        """Seconds from the opened batch to its end, and the CPU seconds of worker and Valkey meanwhile."""
        return asyncio.run(self._extract(items))

    @property
    def peak_mib(self) -> float:
        return (self.client.info("memory")["used_memory_peak"] - self.idle) / MIB

    async def _extract(self, items: int) -> tuple[float, float]:
        template = Template(
            model="openai/stub", prompt="Extract: item {number} is a thing that costs 12.", schema=SCHEMA
        )
        async with AsyncHeadrace(self.server.url, settings=self.settings) as client:
            lines = (Item(custom_id=str(number), fields={"number": number}) for number in range(items))
            used, began = self._cpu(), time.perf_counter()
            batch_id = await client.open(template, lines)
            batch = await client.batch(batch_id).wait()
            seconds, used = time.perf_counter() - began, self._cpu() - used
        if batch.succeeded != items:
            raise SystemExit(f"only {batch.succeeded} of {items} items succeeded")
        return seconds, used

    def _cpu(self) -> float:
        assert self.server.pid is not None
        return cpu_seconds(self.server.pid) + cpu_seconds(self.worker.pid)


@contextmanager
def service(folder: Path, url: str) -> Iterator[Running]:
    server = EmbeddedServer(folder / "valkey")
    server.start()
    ready = folder / "ready"
    environment = {
        **os.environ,
        "HEADRACE_REDIS_URL": server.url,
        "HEADRACE_FILES": str(folder / "files"),
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "stub",
    }
    command = [sys.executable, "-m", "headrace_worker", "--role", "bulk", "--ready-file", str(ready)]
    worker = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(ready, worker)
        yield Running(server, worker, folder / "files")
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        server.stop()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_for(ready: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} did not start")
        time.sleep(0.02)
