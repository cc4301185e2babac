"""Ctrl-C at every stage of a command: exit code 130, no traceback, nothing half done, and the way back is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from stack import Stack, started, until

from headrace.ledger.keys import Keys

SLOW = "[[rehearsal latency=60000]]"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("interrupt")) as stack:
        yield stack


def begun(stack: Stack, *command: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", *command],
        cwd=stack.folder,
        env={**stack.client_environment, "MODEL": "rehearsal/small"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it says when it is interrupted now."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said


def ids(stack: Stack, noun: str) -> list[str]:
    return [json.loads(line)["id"] for line in stack.run(noun, "list", "--json").stdout.splitlines()]


def test_while_the_input_is_read(stack: Stack) -> None:
    before = ids(stack, "batches")
    read, write = os.pipe()
    process = begun(stack, "extract", "-", stdin=read)
    os.write(write, b'{"text": "one"}\n')
    until(lambda: "standard-input" in open_files(process.pid), what="it reads")
    said = interrupted(process)
    os.close(read)
    os.close(write)
    assert "nothing was enqueued" in said
    assert ids(stack, "batches") == before


def test_while_the_batch_is_opened(stack: Stack) -> None:
    before = ids(stack, "batches")
    source = stack.folder / "large.jsonl"
    source.write_text("".join(f'{{"text": "Item {n}."}}\n' for n in range(400_000)))
    process = begun(stack, "extract", str(source))
    files = Path(stack.ready["files"])
    known = set(files.glob("batch_*"))
    until(lambda: set(files.glob("batch_*")) - known, what="its input is written")
    said = interrupted(process)
    assert "nothing was enqueued" in said
    assert ids(stack, "batches") == before
    assert set(files.glob("batch_*")) == known, "its files are gone"


def test_twice_in_a_row(stack: Stack, tmp_path: Path) -> None:
    """The second one comes while the service is stopped that was started for the command alone."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": f"{SLOW} later"}) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "extract", "in.jsonl", "--model", "rehearsal/small"],
        cwd=tmp_path,
        env={name: value for name, value in stack.environment.items() if name != "HEADRACE_REDIS_URL"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    before = ""
    while "return to it" not in before:
        before += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    while "detached" not in before:
        before += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "nothing was enqueued" not in said
    assert "Traceback" not in said


def test_while_a_job_runs(stack: Stack) -> None:
    process = begun(stack, "run", f"{SLOW} Why?")
    job_id = until(lambda: running_job(stack), what="it runs")
    assert f"{job_id} cancelled" in interrupted(process)
    until(lambda: json.loads(stack.run("jobs", "show", job_id).stdout)["state"] == "cancelled", what="it is cancelled")


def interrupt_at_many_moments(stack: Stack, *command: str) -> None:
    """Ctrl-C from 0.3 to 1.5 s after the command's start: while it is loaded, connects, submits and waits."""
    for first in range(0, 40, 5):
        begins = time.monotonic()
        processes = [begun(stack, *command) for _ in range(5)]
        try:
            for n, process in enumerate(processes, first):
                time.sleep(max(0.0, begins + 0.3 + n * 0.03 - time.monotonic()))
                process.send_signal(signal.SIGINT)
            for process in processes:
                said = process.communicate(timeout=30)[1]
                # Python itself, before `main` takes the signal
                loading = process.returncode in (1, -signal.SIGINT) and not re.search(r"__main__\.py.*, in main", said)
                assert process.returncode == 130 or loading, said
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def test_at_any_moment(stack: Stack) -> None:
    interrupt_at_many_moments(stack, "run", f"{SLOW} When?")
    until(lambda: running_job(stack) is None, what="nothing is paid any more")


@pytest.mark.parametrize("command", [("run", f"{SLOW} Where?"), ("jobs", "list"), ("watch", f"batch_{'a' * 26}")])
def test_while_redis_does_not_answer(stack: Stack, command: tuple[str, ...]) -> None:
    redis = int(stack.client.info("server")["process_id"])
    os.kill(redis, signal.SIGSTOP)
    try:
        interrupt_at_many_moments(stack, *command)
    finally:
        os.kill(redis, signal.SIGCONT)
    until(lambda: running_job(stack) is None, what="nothing is paid any more")


def test_twice_while_redis_does_not_answer(stack: Stack) -> None:
    process = begun(stack, "run", f"{SLOW} Who?")
    job_id = until(lambda: running_job(stack), what="it runs")
    redis = int(stack.client.info("server")["process_id"])
    os.kill(redis, signal.SIGSTOP)
    try:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):  # it cancels the job, as far as it can
            process.wait(1)
        assert f"headrace jobs cancel {job_id}" in interrupted(process)
    finally:
        os.kill(redis, signal.SIGCONT)
    stack.run("jobs", "cancel", job_id)
    until(lambda: running_job(stack) is None, what="nothing is paid any more")


def test_while_a_result_is_waited_for(stack: Stack) -> None:
    job_id = stack.run("run", f"{SLOW} Why not?", "--model", "rehearsal/small", "--detach").stdout.strip()
    until(lambda: running_job(stack) == job_id, what="it runs")
    process = begun(stack, "jobs", "result", job_id)
    until(lambda: subscribed(stack), what="it waits")
    assert f"headrace jobs result {job_id}" in interrupted(process)
    assert running_job(stack) == job_id
    assert stack.run("jobs", "cancel", job_id).returncode == 0


def test_while_rows_are_printed(stack: Stack) -> None:
    batch_id = stack.extract([{"text": "now"}, {"text": f"{SLOW} later"}])
    process = begun(stack, "batches", "results", batch_id)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["custom_id"] == "line-1"
    assert f"headrace batches results {batch_id}" in interrupted(process)
    assert stack.batch(batch_id)["state"] == "in_progress"
    assert stack.run("batches", "cancel", batch_id).returncode == 0


def open_files(pid: int) -> str:
    folder = Path(f"/proc/{pid}/fd")
    try:
        return " ".join(os.readlink(entry) for entry in folder.iterdir())
    except OSError:
        return ""


def running_job(stack: Stack) -> str | None:
    found = [json.loads(line) for line in stack.run("jobs", "list", "--json").stdout.splitlines()]
    return next((job["id"] for job in found if job["state"] == "running"), None)


def subscribed(stack: Stack) -> bool:
    """Somebody waits for the events of a job; what workers hear of has channels of its own."""
    jobs = Keys(stack.ready["namespace"]).job("").encode()
    return any(channel.startswith(jobs) for channel in stack.client.pubsub_channels())
