"""What submitting costs, and what reading a large batch's results does to memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.peers.item import SCHEMA
from bench.report.figures import Row, row
from headrace import AsyncHeadrace, Completion, Headrace, Usage
from headrace.batches.ingest import read_index
from headrace.batches.outputs.output_lines import success_line
from headrace.ledger.shard_range import part_file
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings

SUBMITS = 500
MANY = 10_000
ROWS = 100_000
# Not `ru_maxrss`: that one also counts what the process was forked from.
READER = """
import re, sys
from headrace import Headrace
from headrace.settings import Settings
with Headrace(sys.argv[1], settings=Settings(files=sys.argv[2])) as client:
    count = sum(1 for row in client.batch(sys.argv[3]).results() if row.value)
print(count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


def rows() -> list[Row]:
    """The SDK's own costs."""
    p50_ms, rate = submitting()
    return [
        row("submit to the hint in its queue, p50", p50_ms, "ms", 2.0, at_most=True),
        row("submit_many, 10,000 jobs", rate, "1/s", 3000.0),
        row("peak memory of a process that reads 100,000 rows", reading_memory(), "MiB", 80.0, at_most=True),
    ]


def submitting() -> tuple[float, float]:
    """Milliseconds (p50) from `submit` to the hint being in the queue, and jobs a second with `submit_many`."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "valkey")
        server.start()
        try:
            with Headrace(server.url, settings=Settings(files=folder)) as client:
                client.submit("openai/stub", "warm up")
                took = []
                for number in range(SUBMITS):
                    began = time.perf_counter()
                    client.submit("openai/stub", f"Extract number {number}.")
                    took.append(time.perf_counter() - began)
                began = time.perf_counter()
                client.submit_many("openai/stub", (f"Extract number {number}." for number in range(MANY)))
                rate = MANY / (time.perf_counter() - began)
        finally:
            server.stop()
    return statistics.median(took) * 1000, rate


def reading(url: str, files: Path, batch_id: str) -> tuple[int, float]:
    """How many rows a fresh process reads from a batch, and its peak resident memory in MiB."""
    command = [sys.executable, "-c", READER, url, str(files), batch_id]
    count, mib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(count), float(mib)


def reading_memory() -> float:
    """Peak resident MiB of a fresh process that reads 100,000 typed rows: the larger of an open and of a closed batch.

    The batch is laid out as workers leave it, without running it: what is measured is the reader.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "valkey")
        server.start()
        files = Path(folder) / "files"
        try:
            with Headrace(server.url, settings=Settings(files=str(files))) as client:
                batch = client.extract(
                    ({"text": f"Item {n}."} for n in range(ROWS)), model="openai/stub", schema=SCHEMA
                )
                client.call(lambda inner: lay_out(inner, batch.id))
                peaks = [peak_of(server.url, files, batch.id)]
                key = client.call(lambda inner: close(inner, batch.id))
                peaks.append(peak_of(server.url, files, batch.id))
                assert key
        finally:
            server.stop()
    return max(peaks)


def peak_of(url: str, files: Path, batch_id: str) -> float:
    count, mib = reading(url, files, batch_id)
    if count != ROWS:
        raise SystemExit(f"{count} of {ROWS} rows were read")
    return mib


async def lay_out(client: AsyncHeadrace, batch_id: str) -> None:
    """The parts of a batch whose shards have all finished, and which is not joined yet."""
    store, key = await client.ledger_backend.store(), client.ledger.keys.batch(batch_id)
    shards = int(await client.ledger.client.hget(key, "shards"))
    for number, shard in enumerate(read_index(store, f"{batch_id}/index", 0, shards)):
        name = part_file(batch_id, number, "1")
        store.commit(name, (b"s" + line_of(shard.line + at) + b"\n" for at in range(shard.count)))
        await client.ledger.client.hset(f"{key}:parts", number, "1")


async def close(client: AsyncHeadrace, batch_id: str) -> str:
    store, key = await client.ledger_backend.store(), client.ledger.keys.batch(batch_id)
    store.commit(f"{batch_id}/output.1.jsonl", (line_of(number) + b"\n" for number in range(ROWS)))
    store.commit(f"{batch_id}/errors.1.jsonl", ())
    names = {"output": f"{batch_id}/output.1.jsonl", "errors": f"{batch_id}/errors.1.jsonl"}
    await client.ledger.client.hset(key, mapping={"state": "completed", **names})
    store.remove(f"{batch_id}/parts")
    return key


def line_of(number: int) -> bytes:
    value = {"name": f"Item {number}.", "price": 12.0}
    completion = Completion(
        id="x", model="stub", created=1, content="", finish_reason="stop", usage=Usage(10, 10), value=value
    )
    return success_line(f"line-{number + 1}", "r", completion)
