"""Streams through the whole service, provider to SSE viewer: the latency that is added, and the memory that streams take.

The full load takes 1.3 of two cores, and what else runs on the machine shows in every figure: look at `others`.

Real processes: the streaming stub, Valkey, an interactive worker, a gateway, and one process with all viewers. By hand:
`.venv/bin/python -m bench.gateway_streams [--jobs 100] [--viewers 100] [--chunks 400] [--rate 50]`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers.contender import cpu_seconds
from bench.report.figures import Row, row
from bench.service import ROOT, machine_seconds, memory_mb, process, valkey

LATENCY = "added latency of a chunk, provider to SSE viewer"


def rows() -> list[Row]:
    """Latency at three loads, 1,000 viewers of one job, 500 streams in one worker."""
    return [*latency(), *crowd(), *crowded_worker()]


def latency() -> list[Row]:
    """At the full load, of three rounds the one in which the rest of the machine did least; the others' middle beside it."""
    found: list[Row] = []
    with serving() as running:
        for jobs in (20, 50):
            said = seen(running, "--jobs", jobs, "--viewers", jobs, "--chunks", 150, "--rate", 50)
            found += [row(f"{LATENCY}, {jobs} streams x 50/s, {at}", said[f"{at}_ms"], "ms") for at in ("p50", "p99")]
        full = ("--jobs", 100, "--viewers", 100, "--chunks", 250, "--rate", 50)
        rounds = [seen(running, *full) for _ in range(3)]
        with burning():
            beside = [seen(running, *full) for _ in range(3)]
    best = min(rounds, key=lambda said: said["cores"]["others"])
    name = f"{LATENCY}, 100 streams x 50/s"
    found.append(row(f"{name}, p50", best["p50_ms"], "ms", 1.2, at_most=True))
    found.append(row(f"{name}, p99", best["p99_ms"], "ms", 6, at_most=True))
    late = statistics.median(said["p99_ms"] for said in beside)
    found.append(row(f"{name}, p99, beside a process that burns a core", late, "ms", 25, at_most=True))
    for at in ("p50", "p99"):
        middle = statistics.median(said[f"{at}_ms"] for said in rounds)
        found.append(row(f"{name}, {at}, middle of three rounds", middle, "ms"))
    return found + [
        row(f"cores used at 100 streams x 50/s: {who}", used, "cores") for who, used in best["cores"].items()
    ]


@contextmanager
def burning() -> Iterator[None]:
    """Keep one core busy for the block."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def crowd() -> list[Row]:
    """1,000 viewers come to one job while it streams, 200 a second."""
    said = measured("--jobs", 1, "--viewers", 1000, "--chunks", 200, "--rate", 10, "--late", 3, "--pace", 200)
    return [
        row("RSS growth of a gateway, 1,000 viewers of one job", said["gateway_mb"], "MB", 80, at_most=True),
        row("connect to the newest event, 1,000 viewers, p99", said["newest_p99_ms"], "ms", 1000, at_most=True),
        row("added latency of a chunk, 1,000 viewers of one job x 10/s, p50", said["p50_ms"], "ms"),
    ]


def crowded_worker() -> list[Row]:
    """500 jobs stream at once, 5 chunks a second each."""
    said = measured("--jobs", 500, "--viewers", 500, "--chunks", 40, "--rate", 5)
    return [
        row("RSS of a worker, 500 streams open", said["worker_peak_mb"], "MB", 250, at_most=True),
        row("RSS growth of a worker, 500 streams open", said["worker_mb"], "MB"),
    ]


def measured(*arguments: object) -> dict[str, Any]:
    """As `seen`, by a service of its own."""
    with serving() as running:
        return seen(running, *arguments)


def seen(running: Running, *arguments: object) -> dict[str, Any]:
    """What the viewers say, with memory (growth and peak, in MB) and cores of the processes beside it.

    Exits when a viewer did not see the whole stream.
    """
    pids = running.pids
    idle = {name: memory_mb(pid, "VmRSS") for name, pid in pids.items()}
    used_s = {name: cpu_seconds([pid]) for name, pid in pids.items()}
    busy_s = machine_seconds()
    said = running.view(*map(str, arguments))
    busy_s = machine_seconds() - busy_s
    for name, pid in pids.items():
        peak = memory_mb(pid, "VmHWM")
        said |= {f"{name}_peak_mb": peak, f"{name}_mb": peak - idle[name]}
    spent_s = {name: cpu_seconds([pid]) - used_s[name] for name, pid in pids.items()} | {"viewers": said["cpu_s"]}
    spent_s["others"] = max(busy_s - sum(spent_s.values()) - said["start_cpu_s"], 0)
    said["cores"] = {name: round(used / said["seconds"], 3) for name, used in spent_s.items()}
    if said["whole"] != said["viewers"] or said["ended"] != said["viewers"]:
        raise SystemExit(f"not every viewer saw the whole stream: {said}")
    return said


class Running(NamedTuple):
    """A service: the URLs of its gateway and of the stub, and its process ids."""

    gateway: str
    stub: str
    pids: dict[str, int]

    def view(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.viewers", self.gateway, self.stub, *arguments]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120, cwd=ROOT).stdout)


@contextmanager
def serving() -> Iterator[Running]:
    """A service that is warm: the first stream of a process imports and compiles, which is not what a stream costs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as running:
        running.view("--jobs", "5", "--viewers", "5", "--chunks", "50")
        yield running


@contextmanager
def service(folder: Path) -> Iterator[Running]:
    with ExitStack() as stack:
        server = stack.enter_context(valkey(folder / "valkey"))
        stub = stack.enter_context(process(folder / "stub", "bench.streaming_stub", {}))
        environment = {
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "HEADRACE_CALLS": "600",
            "HEADRACE_DRAIN_S": "2",
            "OPENAI_BASE_URL": f"{(folder / 'stub').read_text()}/v1",
            "OPENAI_API_KEY": "stub",
        }
        worker = stack.enter_context(
            process(folder / "worker", "headrace_worker", environment, "--role", "interactive", "--concurrency", "600")
        )
        gateway = stack.enter_context(process(folder / "gateway", "headrace_api", environment, "--port", "0"))
        assert server.pid is not None
        pids = {"stub": stub.pid, "worker": worker.pid, "valkey": server.pid, "gateway": gateway.pid}
        yield Running(json.loads((folder / "gateway").read_text())["url"], (folder / "stub").read_text(), pids)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("jobs", 100), ("viewers", 100), ("chunks", 400), ("rate", 50), ("late", 0), ("pace", 0)):
        parser.add_argument(f"--{name}", type=float if name in {"rate", "late", "pace"} else int, default=default)
    given = vars(parser.parse_args())
    print(json.dumps(measured(*(each for name, value in given.items() for each in (f"--{name}", value))), indent=1))


if __name__ == "__main__":
    main()
