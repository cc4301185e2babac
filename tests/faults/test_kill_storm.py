"""One SIGKILL a second over four workers: nothing is lost, nobody innocent is dead, and all ends soon after the last kill.

`SEED=…` runs one seed again; `STORM_S=120` is the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

from fleet import Worker, kill_one_of_up, more_workers, states_of, submit
from headrace_rehearsal import account
from stack import Stack, started, until

STORM_S = float(os.environ.get("STORM_S", "20"))
PACE = ("--no-flower", "--rehearsal-flag=--latency=500", "--rehearsal-flag=--jitter=3500")
ENDED = {"succeeded", "failed", "dead", "cancelled"}


def test_a_kill_storm_loses_nothing_and_convicts_nobody(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    jobs, items = int(STORM_S * 1000 / 120), int(STORM_S * 2000 / 120)
    with started(tmp_path, *PACE) as stack, more_workers(stack, "bulk") as (bulk,):
        batch_id = stack.extract([{"id": str(n), "text": f"Item {n} is blue."} for n in range(items)])
        submitted = asyncio.run(submit(stack, [f"Job {n}: what is blue?" for n in range(jobs // 2)]))
        began = last_kill = time.monotonic()
        targets = ["interactive", "bulk", "quarantine", "bulk-2"]
        for number in range(int(STORM_S)):
            until(lambda due=began + number + 1: time.monotonic() >= due, what="the next second")
            chance.shuffle(targets)
            next(target for target in targets if kill(stack, bulk, target))
            last_kill = time.monotonic()
            if number == int(STORM_S / 3):
                submitted += asyncio.run(submit(stack, [f"Job {n}: what is red?" for n in range(jobs // 2)]))
        until(lambda: stack.batch(batch_id).get("state") == "completed", what="the batch ends", seconds=60)
        batch_s = time.monotonic() - last_kill
        states = until(lambda: all_ended(stack, submitted), what="all jobs end", seconds=60)
        print(
            f"ended {time.monotonic() - last_kill:.1f} s after the last kill (batch {batch_s:.1f}): {Counter(states)}"
        )
        assert Counter(states) == {"succeeded": len(submitted)}
        assert [line["custom_id"] for line in stack.lines(batch_id, "output")] == [str(n) for n in range(items)]
        assert stack.lines(batch_id, "errors") == []
        paid = Counter(call.job_and_call for call in stack.calls() if account.paid(call))
        print(f"paid again: {sum(paid.values()) - len(paid)}, one of them at most {max(paid.values())} times")


def kill(stack: Stack, bulk: Worker, target: str) -> bool:
    if target != bulk.name:
        return kill_one_of_up(stack, target)
    bulk.kill()
    return True


def all_ended(stack: Stack, jobs: list[str]) -> list[str] | None:
    states = [state.decode() for state in states_of(stack, jobs)]
    return states if set(states) <= ENDED else None


def test_a_worker_killed_twice_costs_two_leases_at_most(tmp_path: Path) -> None:
    """100 calls of 20 s, the worker killed after 2 s and after 20 s: three crashes make a suspect, two do not."""
    latency = "--rehearsal-flag=--latency=20000"
    with started(tmp_path, "--no-flower", latency) as stack:
        jobs = asyncio.run(submit(stack, [f"Job {n}: what is blue?" for n in range(100)]))
        until(lambda: len(stack.calls()) == 100, what="all are in flight")
        began = time.monotonic()
        for at_s in (2, 20):
            until(lambda due=began + at_s: time.monotonic() >= due, what="the kill")
            kill_one_of_up(stack, "interactive")
        killed = time.monotonic()
        states = until(lambda: all_ended(stack, jobs), what="all jobs end", seconds=60)
        print(f"ended {time.monotonic() - killed:.1f} s after the second kill")
        assert Counter(states) == {"succeeded": 100}
        assert time.monotonic() - killed <= 45
