"""What a piece of work costs, measured in a process of its own: CPU time of it and its children, and memory."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from time_scaling import scaled_s

KILLED_S = 20


MAX_CONTENTION = 3.0


class Cost(NamedTuple):
    cpu_s: float
    """CPU seconds of a machine that runs nothing else: see `contention`."""
    more_mb: float
    result: Any
    """What the work returned, or in words the error that it raised."""


def cost_of(work: Callable[[], Any]) -> Cost:
    """Runs `work` in a fork of this process, which is killed after `KILLED_S` of CPU time."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        measure(work, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, _, usage = os.wait4(child, 0)
    if not said:
        return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, "it was killed")
    cpu_s, more_mb, result = pickle.loads(said)
    return Cost(cpu_s / contention(), more_mb, result)


def contention() -> float:
    """How many times the CPU time of the same work is longer where others run beside it: they share its caches, and the
    units of its core."""
    return min(MAX_CONTENTION, scaled_s(1.0))


def measure(work: Callable[[], Any], write: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (KILLED_S, KILLED_S + 1))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before_mb, before_s = memory_mb("VmRSS"), used_s()
    try:
        result: Any = work()
    except Exception as error:
        result = f"{type(error).__name__}: {str(error)[:500]}"
    os.write(write, pickle.dumps((used_s() - before_s, memory_mb("VmHWM") - before_mb, result)))
    os._exit(0)


def used_s() -> float:
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
