"""The quarantine's worker and its children under a supervisor's and an operator's hands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Worker, kill_one_of_up, more_workers, states_of, submit
from stack import Stack, started, until

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


def test_the_death_of_the_fork_server_is_nobodys(stack: Stack, worker: Worker) -> None:
    """The children that it forked go on; the next one is forked from another."""
    (job,) = suspects(stack, 1)
    os.kill(fork_server_of(worker.pid), signal.SIGKILL)
    until(lambda: states_of(stack, [job]) == [b"succeeded"], what="it ends", seconds=30)
    assert len(stack.calls()) == 2
    (another,) = suspects_again(stack)
    until(lambda: states_of(stack, [another]) == [b"succeeded"], what="another one ends, too", seconds=40)


def suspects_again(stack: Stack) -> list[str]:
    done, worker = len(stack.calls()), stack.ready["workers"]["interactive"]
    jobs = asyncio.run(submit(stack, ["Another job."]))
    until(lambda: len(stack.calls()) == done + 1, what="its first call")
    assert worker == stack.ready["workers"]["interactive"]
    assert kill_one_of_up(stack, "interactive")
    return jobs


def fork_server_of(pid: int) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(pid) and b"multiprocessing.forkserver" in (folder / "cmdline").read_bytes():
                return int(folder.name)
    raise AssertionError("there is no fork server")


def test_children_end_with_their_worker(stack: Stack, worker: Worker) -> None:
    suspects(stack, 1)
    children = processes_of_the_group(worker.pid)
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="nothing stays behind", seconds=10)


def processes_of_the_group(pid: int) -> list[int]:
    """The fork server of a worker, and what it has forked."""
    server = fork_server_of(pid)
    found = [server]
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(server):
                found.append(int(folder.name))
    assert len(found) > 1
    return found
