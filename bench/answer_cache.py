"""Bulk extraction with the answer cache: off, on without a hit, and all hits, in turns. `python -m bench.run cache`.

CPU seconds are those of the worker and of Redis; the median of the rounds counts. The stub answers at once.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.peers import item
from bench.peers.contender import Run, cpu_seconds, family, running
from bench.report.figures import Figures, Row, row
from bench.scale import progress, scaled
from bench.service import stub, valkey
from headrace import Headrace

ITEMS = 6_000
ROUNDS = 5
MAX_DEARER = 1.12
MIN_HITS_A_SECOND = 5_000.0
MODES: dict[str, Callable[[int], dict[str, object]]] = {
    "off": lambda number: {"cache": False},
    "on, no hit": lambda number: {"variant": str(number)},
    "on, all hits": lambda number: {"variant": str(number)},
}


class Measured(NamedTuple):
    cpu_seconds: float
    worker_seconds: float
    seconds: float


def figures() -> Figures:
    items = scaled(ITEMS, least=200)
    found: dict[str, list[Measured]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as folder, stub(Path(folder)) as url, valkey(Path(folder) / "valkey") as server:
        run = Run("", items, url, Path(folder) / "rows.jsonl", str(server.socket), server.pid or 0)
        os.environ |= {
            "HEADRACE_REDIS_URL": run.redis_url,
            "HEADRACE_FILES": str(run.rows.with_name("files")),
            "OPENAI_BASE_URL": run.stub,
            "OPENAI_API_KEY": "stub",
        }
        with running(run, "headrace_worker", "--role", "bulk") as worker, Headrace() as client:
            for number in range(-1, ROUNDS):  # the first one warms up
                for mode, words in MODES.items():
                    one = measure(client, items, run, worker.pid, words(number))
                    progress(
                        f"cache, round {number + 1} of {ROUNDS}: {mode}, {one.cpu_seconds / items * 1000:.3f} ms an item"
                    )
                    if number >= 0:
                        found[mode].append(one)
    return Figures(rows(found, items))


def measure(client: Headrace, items: int, run: Run, worker: int, words: dict[str, object]) -> Measured:
    """Extract `items` items; return what it took."""
    lines = ({"id": str(number), "number": number} for number in range(items))
    pids = {"worker": family(worker), "broker": family(run.broker_pid)}
    used, began = {name: cpu_seconds(of) for name, of in pids.items()}, time.perf_counter()
    batch = client.extract(lines, item.PROMPT, model=f"openai/{item.MODEL}", schema=item.SCHEMA, **words)  # type: ignore[arg-type]
    ended = batch.wait()
    seconds = time.perf_counter() - began
    if ended.succeeded != items:
        raise SystemExit(f"only {ended.succeeded} of {items} items succeeded")
    parts = {name: cpu_seconds(of) - used[name] for name, of in pids.items()}
    return Measured(sum(parts.values()), parts["worker"], seconds)


def rows(found: dict[str, list[Measured]], items: int) -> list[Row]:
    """Make the rows of what was measured."""
    cpu = {mode: statistics.median(each.cpu_seconds for each in rounds) for mode, rounds in found.items()}
    worker = {mode: statistics.median(each.worker_seconds for each in rounds) for mode, rounds in found.items()}
    made = [row(f"CPU of an item, cache {mode}", used / items * 1000, "ms") for mode, used in cpu.items()]
    dearer, hits = cpu["on, no hit"] / cpu["off"], items / cpu["on, all hits"]
    return [
        *made,
        *(
            row(f"CPU of an item in the worker, cache {mode}", used / items * 1000, "ms")
            for mode, used in worker.items()
        ),
        row("CPU of an item, cache on without a hit vs off", dearer, "ratio", MAX_DEARER, at_most=True),
        row("items per CPU-second, all from the cache", hits, "1/s", MIN_HITS_A_SECOND),
    ]
