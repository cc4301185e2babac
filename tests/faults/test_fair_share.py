"""Fair share: nobody's single job waits for another's slow ones, and batches get their parts by weight."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from fleet import client_of, more_workers, submit
from stack import started, until
from time_scaling import scaled_s

SLOW = "[[rehearsal latency=15000]]"
WEIGHTS = {"small": 10, "middle": 20, "large": 70}


def test_four_hundred_slow_jobs_of_one_user_keep_nobody_else_waiting(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        asyncio.run(submit(stack, [f"{SLOW} {n}" for n in range(400)], user="greedy"))
        until(lambda: len(stack.calls()) >= 256, what="the slots are full")

        async def ask() -> list[float]:
            waits = []
            async with client_of(stack) as client:
                for number in range(10):
                    begun = time.monotonic()
                    await (await client.submit("rehearsal/small", f"Quick {number}.", user="modest")).result()
                    waits.append(time.monotonic() - begun)
            return waits

        waits = asyncio.run(ask())
        print(f"waits beside 400 slow jobs: longest {max(waits):.3f} s")
        assert max(waits) <= scaled_s(1.0)
        assert len([call for call in stack.calls() if call.finished_at is None]) <= 256 + 32


def test_batches_share_a_limit_by_their_weights(tmp_path: Path) -> None:
    limits = json.dumps({"rehearsal": {"requests_per_min": 3_000}})
    with (
        started(tmp_path, "--no-flower", "--no-gateway", environment={"HEADRACE_LIMITS": limits}) as stack,
        more_workers(stack, "bulk"),
    ):
        lines = [{"id": str(n), "text": f"Item {n} is blue."} for n in range(3_000)]
        batches = {
            name: stack.extract(lines, "--no-cache", "--weight", str(weight)) for name, weight in WEIGHTS.items()
        }
        until(lambda: all(stack.calls_of(batch) for batch in batches.values()), what="all are under way")
        begun = time.time() + 5
        until(lambda: time.time() > begun + 20, what="20 s have passed", seconds=40)
        calls = {
            name: sum(begun <= call.received_at < begun + 20 for call in stack.calls_of(batch))
            for name, batch in batches.items()
        }
        total = sum(calls.values())
        print(calls)
        assert total >= 0.9 * 20 * 50
        for name, weight in WEIGHTS.items():
            assert abs(calls[name] / total - weight / 100) <= 0.1 * weight / 100 + 0.01, calls
