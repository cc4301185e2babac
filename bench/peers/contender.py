"""A contender's run: what it is told, how its worker is started, and what is measured. Standard library only.

The program of a contender is the producer: it starts its worker, warms it up, enqueues the items, waits until every row is in
the file, and prints `{"seconds", "cpu_seconds", "items", "version", "parts"}`. CPU seconds are those of the producer, of its
worker with all child processes, and of the broker: `parts` has each. What starting and warming up costs is left out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, NamedTuple

IN_FLIGHT = 256
"""Calls in flight at a time, where a contender can say how many."""
WARM_UP = 128
MAX_SECONDS = 300.0
TICKS = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """What a contender is told, in the environment of its processes."""

    variant: str
    items: int
    stub: str  # base URL of the provider
    rows: Path  # the file that rows are appended to
    socket: str = ""  # of the broker, a Redis or Valkey of this run's own
    broker_pid: int = 0

    @classmethod
    def load(cls) -> Run:
        given = json.loads(os.environ["BENCH_RUN"])
        return cls(**given | {"rows": Path(given["rows"])})

    def dump(self) -> dict[str, str]:
        """Return the environment that `load` reads."""
        return {"BENCH_RUN": json.dumps(self._asdict() | {"rows": str(self.rows)})}

    @property
    def redis_url(self) -> str:
        return f"unix://{self.socket}"


def append_rows(run: Run) -> BinaryIO:
    """Open the file of rows for appending: one write a row, whole, also when several processes write."""
    return run.rows.open("ab", buffering=0)


def measure(run: Run, work: Callable[[range], None], *, package: str, worker: int = 0) -> None:
    """Do `work` over the items and print what it took. `work` returns when the rows of all its items are in the file.

    `worker` is the process whose children count too; `package` is the one whose version is told.
    """
    work(range(-WARM_UP, 0))
    pids = {"producer": (os.getpid(),), "worker": family(worker), "broker": family(run.broker_pid)}
    used = {part: cpu_seconds(of) for part, of in pids.items()}
    began = time.perf_counter()
    work(range(run.items))
    seconds = time.perf_counter() - began
    parts = {part: cpu_seconds(of) - used[part] for part, of in pids.items()}
    figures = {"seconds": seconds, "cpu_seconds": sum(parts.values()), "items": run.items, "version": version(package)}
    print(json.dumps(figures | {"parts": parts}), flush=True)


def rows_of(run: Run, enqueue: Callable[[range], None], worker: subprocess.Popen[bytes]) -> Callable[[range], None]:
    """Return `work` for a queue: `enqueue` the items, then wait until the worker has written as many rows.

    Raises `SystemExit` when the worker ends, or takes longer than `MAX_SECONDS`.
    """

    def work(numbers: range) -> None:
        with run.rows.open("rb") as file:
            file.seek(0, os.SEEK_END)
            deadline, missing = time.monotonic() + MAX_SECONDS, len(numbers)
            enqueue(numbers)
            while (missing := missing - file.read().count(b"\n")) > 0:
                if worker.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{missing} rows are missing; the worker's exit code is {worker.poll()}")
                time.sleep(0.02)

    return work


@contextmanager
def running(run: Run, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module arguments` until the block ends; what it logs goes to a file beside the rows."""
    run.rows.touch()
    with run.rows.with_suffix(".log").open("ab") as log:
        worker = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log)
        try:
            yield worker
        finally:
            for pid in family(worker.pid):  # it has nothing left to do, and some take ten seconds for an orderly end
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            worker.wait()


def family(pid: int) -> Sequence[int]:
    """Return `pid` and the ids of its descendants; nothing for 0."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    found = [pid] if pid else []
    for each in found:
        found += parents.get(each, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that live processes have used so far, all their threads included."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS
