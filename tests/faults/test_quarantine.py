"""The quarantine's worker and its children under a supervisor's and an operator's hands."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Worker, kill_one_of_up, more_workers, states_of, submit
from stack import Stack, started, until

pytestmark = pytest.mark.xdist_group("quarantine")
ENVIRONMENT = {"HEADRACE_DRAIN_S": "20"}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A service whose own quarantine worker is stopped, so that the test's takes what there is."""
    with started(tmp_path, "--no-flower", "--rehearsal-flag=--latency=4000", environment=ENVIRONMENT) as stack:
        own = stack.ready["workers"]["quarantine"]
        os.kill(own, signal.SIGSTOP)
        yield stack
        os.kill(own, signal.SIGCONT)


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    with more_workers(stack, "quarantine") as (worker,):
        yield worker


def suspects(stack: Stack, count: int) -> list[str]:
    """Jobs that were alone, or in twos, when their worker died; they run in children of the quarantine's worker now."""
    jobs = asyncio.run(submit(stack, [f"Job {n}." for n in range(count)]))
    until(lambda: len(stack.calls()) == count, what="the first calls")
    assert kill_one_of_up(stack, "interactive")
    until(lambda: len(stack.calls()) == 2 * count, what="they run in quarantine", seconds=40)
    return jobs


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=lambda sig: sig.name)
def test_a_signal_to_the_whole_group_is_the_workers_to_handle(
    stack: Stack, worker: Worker, sig: signal.Signals
) -> None:
    """Ctrl-C at a terminal, or a supervisor that signals every process of a service: what runs may end."""
    jobs = suspects(stack, 2)
    os.killpg(worker.pid, sig)
    until(
        lambda: worker.process is not None and worker.process.poll() is not None, what="it drains and ends", seconds=30
    )
    assert states_of(stack, jobs) == [b"succeeded", b"succeeded"]
    assert len(stack.calls()) == 4
