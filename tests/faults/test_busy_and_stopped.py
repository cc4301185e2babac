"""A busy process is not a dead one; one whose loop stands for good ends itself; one that stood still begins nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from fleet import more_workers, states_of, submit
from headrace_rehearsal import account
from hooked import hooked
from stack import Stack, started, until

HOOK = hooked("busy_loop")
STOPPED_S = 20


def logs(stack: Stack) -> bytes:
    return b"".join(path.read_bytes() for path in (stack.folder / ".headrace" / "logs").glob("*.log"))


def ended(stack: Stack, jobs: list[str]) -> Counter[str] | None:
    states = [state.decode() for state in states_of(stack, jobs)]
    return Counter(states) if set(states) <= {"succeeded", "failed", "dead"} else None


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_a_blocked_loop_keeps_its_leases(tmp_path: Path, how: str) -> None:
    """Four leases long; `BLOCK_S=60 LEASE_MS=16000` is the case in full."""
    with started(tmp_path, "--no-flower", "--rehearsal-flag=--latency=300", environment=HOOK) as stack:
        jobs = asyncio.run(submit(stack, [f"Job {n} is to {how}." if n == 3 else f"Job {n}." for n in range(20)]))
        assert until(lambda: ended(stack, jobs), what="all end", seconds=90) == {"succeeded": 20}
        paid = Counter(call.job_and_call for call in stack.calls() if account.paid(call))
        assert max(paid.values()) == 1
        assert b"its worker was lost" not in logs(stack)


def test_a_loop_that_stands_ends_its_process_and_only_that_job_is_blamed(tmp_path: Path) -> None:
    environment = {**HOOK, "HEADRACE_LOOP_LIMIT_S": "2", "BLOCK_S": "60"}
    with started(tmp_path, "--no-flower", "--rehearsal-flag=--latency=300", environment=environment) as stack:
        jobs = asyncio.run(
            submit(stack, ["This one is to spin.", *(f"Job {n} [[rehearsal latency=3000]]" for n in range(5))])
        )
        assert until(lambda: ended(stack, jobs), what="all end", seconds=90) == {"succeeded": 5, "dead": 1}
        assert states_of(stack, jobs[:1]) == [b"dead"]
        with stack.client as client:
            for job in jobs[1:]:
                assert client.hmget(f"{{hr}}:job:{job}", "crashes", "queue") == [b"0", b"interactive"]
        paid = Counter(call.job_and_call for call in stack.calls() if account.paid(call))
        assert paid[jobs[0], 1] == 4
        assert b"the loop stands still" in logs(stack)
        assert f"record={jobs[0]}".encode() in logs(stack)


@pytest.mark.parametrize("others", [0, 1])
def test_a_process_that_was_stopped_begins_nothing_for_what_is_anothers(tmp_path: Path, others: int) -> None:
    """Stopped for longer than its lease; with another worker that takes its shards, and with none: then they are queued."""
    pace = ("--no-flower", "--rehearsal-flag=--latency=400")
    with (
        started(tmp_path, *pace, environment={"HEADRACE_CALLS": "32"}) as stack,
        more_workers(stack, *["bulk"] * others),
    ):
        batch_id = stack.extract(
            [{"id": str(n), "text": f"Item {n} is blue."} for n in range(6000 if others else 1000)]
        )
        until(lambda: len(stack.calls()) > 100, what="it runs")
        worker = stack.ready["workers"]["bulk"]
        stopped_ms = time.time() * 1000
        os.kill(worker, signal.SIGSTOP)
        due = time.monotonic() + STOPPED_S
        until(lambda: time.monotonic() > due, what="more than a lease")
        woken = time.time()
        os.kill(worker, signal.SIGCONT)
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch ends", seconds=90)
        old = [
            call
            for call in stack.calls()
            if call.received_at > woken and int((call.request_id or "").rsplit(".", 2)[1]) < stopped_ms
        ]
        of_the_other = [call for call in old if not alive_at(stack, call.request_id or "", stopped_ms)]
        assert of_the_other == []
        assert stack.batch(batch_id)["succeeded"] == stack.batch(batch_id)["total"]


def alive_at(stack: Stack, request_id: str, stopped_ms: float) -> bool:
    """Whether that attempt went on calling while the process was stopped: then it was the other worker's all along."""
    attempt = request_id.split(".")[1:-2], request_id.rsplit(".", 2)[1]
    during = (stopped_ms / 1000 + 2, stopped_ms / 1000 + STOPPED_S - 1)
    return any(
        during[0] < call.received_at < during[1]
        for call in stack.calls()
        if (call.request_id or "").rsplit(".", 2)[1] == attempt[1]
    )


def test_a_job_handed_in_while_its_worker_leaves_does_not_wait(tmp_path: Path) -> None:
    """Its hint goes back into the queue at once, not after the seconds in which a lost one is published again."""
    slow = "--rehearsal-flag=--latency=3000"
    environment = {"HEADRACE_DRAIN_S": "10"}
    with started(tmp_path, "--no-flower", slow, environment=environment) as stack, more_workers(stack, "interactive"):
        asyncio.run(submit(stack, [f"Job {n}." for n in range(40)]))
        until(lambda: len(stack.calls()) == 40, what="both work")
        os.kill(stack.ready["workers"]["interactive"], signal.SIGTERM)
        late = asyncio.run(submit(stack, [f"Late {n}." for n in range(40)]))
        sent = time.time()
        until(lambda: ended(stack, late), what="they end")
        begun = [call.received_at for call in stack.calls() if call.job_and_call and call.job_and_call[0] in late]
        assert len(begun) == 40
        assert max(begun) - sent < 2


def test_a_stream_that_breaks_while_its_process_sleeps_does_not_begin_anew_there(tmp_path: Path) -> None:
    """Cut streams with `on_retry="reset"`: they would be called again, and get a new epoch, by the one that slept."""
    cut = "Say it. [[rehearsal latency=500 tps=1 fault=cut after=20 times=1]]"
    with started(tmp_path, "--no-flower") as stack:
        jobs = asyncio.run(submit(stack, [f"{n}: {cut}" for n in range(10)], stream=True, on_retry="reset"))
        until(lambda: len(stack.calls()) == 10, what="all are under way")
        worker = stack.ready["workers"]["interactive"]
        stopped_ms = time.time() * 1000
        os.kill(worker, signal.SIGSTOP)
        until(lambda: set(states_of(stack, jobs)) == {b"queued"}, what="they are taken back", seconds=40)
        with stack.client as client:
            client.delete("{hr}celery:interactive")  # nobody claims them in this moment
        woken = time.time()
        os.kill(worker, signal.SIGCONT)
        until(lambda: ended(stack, jobs) == {"succeeded": 10}, what="all end", seconds=90)
        epochs = [int((call.request_id or "").rsplit(".", 2)[1]) for call in stack.calls() if call.received_at > woken]
        assert min(epochs) > stopped_ms
        # One that was claimed after waking has an epoch of after that: none was given to a record that nobody had claimed.
        assert Counter(call.job_and_call for call in stack.calls()).most_common(1)[0][1] <= 2
