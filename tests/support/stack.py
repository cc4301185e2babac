"""The whole service as real processes, for the tests that need it: `headrace up` on a folder of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from headrace_rehearsal import account
from time_scaling import scaled_s

DEADLINE_S = 60.0


class Stack:
    """A running `headrace up`; `ready` is what its ready file says, read anew at each use."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], environment: dict[str, str]):
        self.folder = folder
        self.process = process
        self.environment = environment

    @property
    def ready(self) -> dict[str, Any]:
        return json.loads((self.folder / "ready.json").read_text())

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.ready["redis"], socket_timeout=5)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `headrace …` against this service."""
        return headrace(*arguments, env=self.client_environment, cwd=self.folder, **options)

    @property
    def client_environment(self) -> dict[str, str]:
        ready = self.ready
        return {**self.environment, "HEADRACE_REDIS_URL": ready["redis"], "HEADRACE_FILES": ready["files"]}

    @property
    def worker_environment(self) -> dict[str, str]:
        """For a worker beside those of `headrace up`."""
        provider = {"REHEARSAL_BASE_URL": f"{self.ready['rehearsal']}/v1"}
        return self.client_environment | provider

    def extract(self, lines: list[dict[str, Any]], *arguments: str) -> str:
        """Open a batch over `lines` and return its id."""
        source = self.folder / "input.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        # Of its own: not the batch of a test before, nor its answers.
        own = ("--new", "--variant", secrets.token_hex(8))
        done = self.run("extract", str(source), "--model", "rehearsal/small", "--detach", *own, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def batch(self, batch_id: str) -> dict[str, str]:
        with contextlib.closing(self.client) as client:
            raw = client.hgetall(f"{{hr}}:batch:{batch_id}")
        return {name.decode(): value.decode() for name, value in raw.items()}

    def lines(self, batch_id: str, which: str) -> list[dict[str, Any]]:
        """The lines of `output` or `errors` of a closed batch."""
        path = Path(self.ready["files"]) / self.batch(batch_id)[which]
        return [json.loads(line) for line in path.read_text().splitlines()]

    def calls(self) -> list[account.AccountedCall]:
        path = Path(self.ready["account"])
        return account.read(path) if path.exists() else []

    def calls_of(self, record_id: str) -> list[account.AccountedCall]:
        """The calls of one job, or of all items of one batch, in the order in which the provider got them."""
        return [call for call in self.calls() if (call.request_id or "").startswith(f"{record_id}.")]


def headrace(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line; output is captured as text."""
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@contextlib.contextmanager
def started(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Stack]:
    """`headrace up` on `folder`, ready; stopped (and everything under it gone) at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    unset = {"HEADRACE_REDIS_URL", "OPENAI_API_KEY", "HEADRACE_FILES"}
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"HEADRACE_DRAIN_S": "5", **(environment or {})}
    command = [
        *(sys.executable, "-m", "headrace", "up", "--port", "0", "--data", str(folder / ".headrace")),
        *("--rehearsal", "--ready-file", str(folder / "ready.json"), "--until-stdin-ends", *arguments),
    ]
    (folder / "ready.json").unlink(missing_ok=True)  # of a service that was here before
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: (folder / "ready.json").exists() or process.poll() is not None, what="the service is up")
        assert process.poll() is None, (folder / "up.log").read_text()
        yield Stack(folder, process, env)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def until(holds: Callable[[], Any], *, what: str, seconds: float = DEADLINE_S) -> Any:
    """Wait until `holds()` is true and return what it returned; fail with `what` after the deadline."""
    deadline = time.monotonic() + scaled_s(seconds)
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tree(folder: Path) -> list[int]:
    """Every process that names `folder` in its command line or its environment, ourselves apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{folder}/.headrace".encode() in said and alive(int(entry.name)):
            found.append(int(entry.name))
    return found
