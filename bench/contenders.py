"""The contenders of the bulk benchmark, and a round of one of them: its own environment, its own broker, its rows checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bench.peers.contender import MAX_SECONDS, Run
from bench.peers.item import VALUE
from bench.service import ROOT, valkey

ENVIRONMENTS = ROOT / "bench" / ".peers"


class Contender(NamedTuple):
    """A peer, or headrace, in one of its variants, and its items in a round: fewer where it is slow, as figures are per CPU
    second."""

    peer: str
    label: str
    items: int
    variant: str = ""
    has_broker: bool = True

    @property
    def python(self) -> Path:
        return Path(sys.executable) if self.peer == "headrace" else ENVIRONMENTS / self.peer / "bin" / "python"


HEADRACE = Contender("headrace", "headrace", 20_000)
GATHER = Contender("gather", "gather on the default transport", 3000, "default", has_broker=False)
GATHER_AIOHTTP = Contender("gather", "gather on aiohttp", 5000, "aiohttp", has_broker=False)
CELERY = (
    Contender("celery", "Celery, prefork", 1000, "prefork"),
    Contender("celery", "Celery, threads", 1000, "threads"),
)
QUEUES = (
    Contender("taskiq", "taskiq", 2000),
    Contender("arq", "arq", 1000),
    Contender("saq", "saq", 1000),
    Contender("dramatiq", "dramatiq, asyncio", 1000, "asyncio"),
    Contender("dramatiq", "dramatiq, threads", 1000, "threads"),
)
CONTENDERS = (HEADRACE, GATHER, GATHER_AIOHTTP, *CELERY, *QUEUES)


class Measured(NamedTuple):
    """What a contender's rounds took together."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    items: int = 0
    version: str = ""
    parts: Mapping[str, float] = MappingProxyType({})  # CPU seconds of producer, worker and broker

    def plus(self, other: Measured) -> Measured:
        return Measured(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.items + other.items,
            other.version,
            {part: self.parts.get(part, 0.0) + used for part, used in other.parts.items()},
        )

    @property
    def cpu_ms(self) -> float:
        """CPU of an item, in milliseconds."""
        return self.cpu_seconds / self.items * 1000


NO_ENVIRONMENT = "no environment"
"""Why a peer is absent: `make bench-peers` has not been run."""


class Failed(Exception):
    """A contender did not do its work; the message says how, with what it and its worker printed."""


def present(environments: Path = ENVIRONMENTS) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders whose environments are there, and the names of the peers whose are not, with the reason."""
    there = [each for each in CONTENDERS if each == HEADRACE or is_ready(each.peer, environments)]
    return there, dict.fromkeys(
        sorted({each.peer for each in CONTENDERS} - {each.peer for each in there}), NO_ENVIRONMENT
    )


def is_ready(peer: str, environments: Path = ENVIRONMENTS) -> bool:
    """Return True if the environment of `peer` is complete: `make bench-peers` marks it at the end."""
    return (environments / peer / "ready").exists()


def measure(contender: Contender, stub: str, folder: Path, items: int) -> Measured:
    """Run `contender` over `items` items once. Raises `Failed` when it ends otherwise, or its rows are not those of the items."""
    folder.mkdir(parents=True)
    with valkey(folder / "valkey") if contender.has_broker else nullcontext() as server:
        run = Run(
            contender.variant,
            items,
            stub,
            folder / "rows.jsonl",
            str(server.socket) if server else "",
            server.pid or 0 if server else 0,
        )
        said = output_of([str(contender.python), "-m", "bench.peers", contender.peer], run, contender.label)
    check_rows(run.rows, items, contender.label)
    return Measured(**json.loads(said))


def output_of(command: list[str], run: Run, label: str) -> str:
    # A session of its own: a worker must not be left behind by a producer that is killed.
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **run.dump()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaint = running.communicate(timeout=2 * MAX_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"{label} did not end within {2 * MAX_SECONDS:g} s") from None
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    if running.returncode:
        log = run.rows.with_suffix(".log")
        worker = log.read_text(errors="replace") if log.exists() else ""
        raise Failed(f"{label} failed:\n{complaint[-3000:]}\nits worker:\n{worker[-3000:]}")
    return said.splitlines()[-1]


def check_rows(rows: Path, items: int, label: str) -> None:
    """Raise `Failed` unless the file has one valid row for each item. Negative ids are those of the warm-up."""
    ids: list[int] = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        if row["value"] != VALUE:
            raise Failed(f"{label}: not the value that was answered: {line[:200]}")
        ids.append(int(row["custom_id"]))
    wrong = sorted(number for number in ids if number >= 0) != list(range(items))
    if wrong:
        raise Failed(f"{label}: the rows are not those of {items} items, each once")
