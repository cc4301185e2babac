"""More workers beside those of `headrace up`, started again by nobody but this module, as a plain supervisor would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stack import Stack, until

from headrace import AsyncHeadrace
from headrace.settings import Settings


class Worker:
    """One worker process; `kill()` kills it and starts the next."""

    def __init__(self, stack: Stack, role: str, name: str):
        self.stack = stack
        self.role = role
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.stack.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "headrace_worker", "--role", self.role, "--name", self.name),
                    *("--ready-file", str(self.ready_file)),
                ],
                env=self.stack.worker_environment,
                cwd=self.stack.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ready_file(self) -> Path:
        return self.stack.folder / f"{self.name}.ready"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait_ready(self) -> None:
        until(lambda: self.ready_file.exists(), what=f"{self.name} is ready")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def more_workers(stack: Stack, *roles: str) -> Iterator[list[Worker]]:
    """Further workers of these roles, ready."""
    workers = [Worker(stack, role, f"{role}-{number}") for number, role in enumerate(roles, 2)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready()
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def kill_one_of_up(stack: Stack, role: str) -> bool:
    """Kill the worker of `headrace up` in this role, unless it is only just starting: five failed starts end `up`."""
    ready_file = stack.folder / ".headrace" / "logs" / f"{role}.ready"
    pid = stack.ready["workers"][role]
    if pid is None or json.loads(ready_file.read_text())["pid"] != pid:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def client_of(stack: Stack) -> AsyncHeadrace:
    return AsyncHeadrace(settings=Settings(redis_url=stack.ready["redis"], files=stack.ready["files"]))


async def submit(stack: Stack, prompts: list[str], **words: Any) -> list[str]:
    """Submit a plain job for each prompt; the rehearsal provider answers."""
    async with client_of(stack) as client:
        return [job.id for job in await client.submit_many("rehearsal/small", prompts, **words)]


def states_of(stack: Stack, jobs: list[str]) -> list[bytes]:
    with stack.client as client:
        pipeline = client.pipeline(transaction=False)
        for job in jobs:
            pipeline.hget(f"{{hr}}:job:{job}", "state")
        return pipeline.execute()
