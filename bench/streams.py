"""Added latency of a streamed chunk, from the publisher of a worker to a viewer in another process.

Run by hand: `.venv/bin/python -m bench.streams [--streams 100] [--rate 50] [--seconds 10]`. Writer and viewers are two processes,
Valkey a third. Each chunk carries the monotonic clock of its birth, which Linux shares between processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from headrace_worker.publishing.publisher import Flusher, Publisher

from bench.report.figures import Row, row
from headrace.events.reader import Reader
from headrace.events.types import TextDelta
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.local.valkey import EmbeddedServer

PROGRAM = [sys.executable, "-m", "bench.streams"]


async def write(url: str, jobs: list[str], rate: float, seconds: float) -> None:
    ledger = Ledger.at(url)
    flusher = Flusher(ledger)
    used_s = time.process_time()

    async def one(number: int, job: str) -> None:
        claimed = await claim(ledger, job, token="t", owner="w", queue="bench", lease_ms=10**9)
        publisher = Publisher(flusher, job, claimed.epoch, claimed.record)
        due = time.monotonic() + number / len(jobs) / rate
        for _ in range(int(rate * seconds)):
            due += 1 / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            publisher.put(TextDelta(d=f"{time.monotonic():.6f} "))
        await publisher.move(
            lambda seq: finish(
                ledger, job, claimed.epoch, JobState.SUCCEEDED, seq=seq, event=b'{"t":"end"}', result=b"{}"
            )
        )

    await asyncio.gather(*(one(number, job) for number, job in enumerate(jobs)))
    print(json.dumps({"cpu_s": time.process_time() - used_s}))
    await ledger.close()


async def view(url: str, jobs: list[str]) -> dict[str, float]:
    ledger = Ledger.at(url)
    reader = Reader(ledger)
    late_ms: list[float] = []
    used_s = time.process_time()

    async def one(job: str) -> None:
        with await reader.view(ledger.keys.job(job)) as viewer:
            while True:
                try:
                    group = await viewer.next()
                except StopAsyncIteration:
                    return
                now = time.monotonic()
                for event in group:
                    decoded = msgspec.json.decode(event.data)
                    if decoded["t"] == "text.delta":
                        late_ms.extend((now - float(born)) * 1000 for born in decoded["d"].split())

    await asyncio.gather(*(one(job) for job in jobs))
    await reader.close()
    await ledger.close()
    late_ms.sort()
    at = {name: round(late_ms[int(len(late_ms) * share)], 2) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {**at, "max": round(late_ms[-1], 1), "chunks": len(late_ms), "viewer_cpu_s": time.process_time() - used_s}


def rows() -> list[Row]:
    """100 streams of 50 chunks a second each, for eight seconds."""
    said = subprocess.run([*PROGRAM, "--seconds", "8"], capture_output=True, check=True, timeout=120)
    figures = json.loads(said.stdout)
    name = "added latency of a chunk, worker to viewer, 100 streams x 50/s"
    return [
        row(f"{name}, p50", figures["p50"], "ms", 2, at_most=True),
        row(f"{name}, p99", figures["p99"], "ms", 10, at_most=True),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--write", nargs=2, metavar=("URL", "JOBS"), help="be the writer")
    given = parser.parse_args()
    if given.write:
        await write(given.write[0], given.write[1].split(","), given.rate, given.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        ledger = Ledger.at(server.url)
        jobs = [await submit(ledger, new_id("job"), b"{}", queue="bench") for _ in range(given.streams)]
        viewing = asyncio.create_task(view(server.url, jobs))
        await asyncio.sleep(0.5)
        command = [*PROGRAM, "--rate", str(given.rate), "--seconds", str(given.seconds)]
        writer = await asyncio.create_subprocess_exec(
            *command, "--write", server.url, ",".join(jobs), stdout=subprocess.PIPE
        )
        said, _ = await writer.communicate()
        print(json.dumps({**await viewing, "writer_cpu_s": json.loads(said)["cpu_s"]}))
        await ledger.close()
        server.stop()


if __name__ == "__main__":
    asyncio.run(main())
