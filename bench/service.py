"""Processes of a benchmark: started, ready, ended; and what they use, of which /proc knows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.peers.contender import TICKS
from headrace.local.valkey import EmbeddedServer

ROOT = Path(__file__).parents[1]
START_S = 60.0


@contextmanager
def process(
    ready: Path, module: str, environment: Mapping[str, str], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ready: `python -m module`, a program of ours with `--ready-file`, one of `bench` with it alone."""
    command = [sys.executable, "-m", module]
    command += [str(ready), *arguments] if module.startswith("bench.") else [*arguments, "--ready-file", str(ready)]
    with started(command, environment, ready) as running:
        yield running


@contextmanager
def started(
    command: list[str], environment: Mapping[str, str], ready: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process; with `ready` from the moment on at which that file is there. It is asked to end, and killed if it does not."""
    running = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_S
        while ready is not None and not ready.exists():
            if running.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command!r} did not start")
            time.sleep(0.02)
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def stub(folder: Path, *, latency_s: float = 0.0) -> Iterator[str]:
    """The raw stub; its base URL."""
    ready = folder / f"stub-{latency_s}"
    with process(ready, "bench.stub", {}, str(latency_s)):
        yield ready.read_text()


@contextmanager
def valkey(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def machine_seconds() -> float:
    """CPU seconds that the whole machine has spent: what is not ours makes latencies worse."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / TICKS


def memory_mb(pid: int, field: str) -> float:
    """`VmRSS` or `VmHWM` (its peak) of a process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6
