"""All benchmarks, or those of some subjects: `python -m bench.run [SUBJECT …]`.

Prints the table, writes `bench/results/latest.json` (subjects that were not run keep their last figures there) and what is
made of it, and ends with 1 when a figure of this run misses its budget, or a subject could not be measured.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    answer_cache,
    bulk,
    chat,
    departure,
    floor,
    gateway_streams,
    million,
    provider,
    redis_traffic,
    schemas,
    sdk,
    slow_providers,
    stages,
    streams,
)
from bench.contenders import Failed
from bench.report.figures import LATEST, Figures, Subject, load, number
from bench.report.files import write
from bench.scale import SCALE, progress
from bench.service import ROOT

SUBJECTS: dict[str, Callable[[], Figures]] = {
    "bulk": bulk.figures,
    "cache": answer_cache.figures,
    "latency": slow_providers.figures,
    "chat": chat.figures,
    "million": million.figures,
    "sdk": lambda: Figures(sdk.rows()),
    "departure": lambda: Figures(departure.rows()),
    "provider": lambda: Figures(provider.rows()),
    "floor": floor.figures,
    "stages": stages.figures,
    "redis": redis_traffic.figures,
    "schemas": lambda: Figures(schemas.rows()),
    "streams": lambda: Figures(streams.rows()),
    "gateway_streams": lambda: Figures(gateway_streams.rows()),
}


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - SUBJECTS.keys()
    if unknown:
        print(f"{', '.join(sorted(unknown))}: choose from {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    missed, at = False, commit()  # asked first: what is written makes the work tree another one
    for name in wanted or SUBJECTS:
        progress(f"{name} begins")
        try:
            subject = measured(name, at)
        except (SystemExit, Failed) as error:
            # The others are measured all the same: a run takes minutes.
            progress(f"{name} was not measured: {error}")
            missed = True
            continue
        missed |= tell(subject)
        if SCALE == 1:
            # After each: an interrupted run has not measured for nothing.
            write(load().with_subjects([subject], list(SUBJECTS)))
    progress(f"written: {LATEST.relative_to(ROOT)}" if SCALE == 1 else "nothing was written: BENCH_SCALE is not 1")
    return int(missed)


def measured(name: str, at: str) -> Subject:
    found = SUBJECTS[name]()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Subject(name, today, at, machine(), found.rows, dict(found.versions), dict(found.absent))


def tell(subject: Subject) -> bool:
    """Print the rows; return True if one misses its budget."""
    for row in subject.rows:
        budget = "" if row.budget is None else f"  budget {number(row.budget)}: {'holds' if row.holds else 'MISSED'}"
        print(f"{row.name:70} {number(row.value):>10} {row.unit:6}{budget}  {row.remark}".rstrip(), flush=True)
    for name, reason in subject.absent.items():
        print(f"absent: {name} ({reason})", flush=True)
    return any(row.holds is False for row in subject.rows)


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def machine() -> str:
    """The processor, how many of its cores, the memory, and the Python."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    cores = len(os.sched_getaffinity(0))
    gib = round(int(memory[1]) / 1024**2) if memory else 0
    return f"{model[1].strip() if model else platform.machine()}, {cores} cores, {gib} GiB, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
