"""Whoever starts a service for the time of their own work leaves none behind, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import started, tree, until

ROOT = Path(__file__).parents[2]
DEMO = [str(ROOT / "examples" / "demo.py")]
RUN = ["-m", "headrace", "run", "[[rehearsal latency=60000]] Wait.", "--model", "rehearsal/small"]
EXTRACT = ["-m", "headrace", "extract", "in.jsonl", "--model", "rehearsal/small", "--out", "out.jsonl"]


@pytest.fixture
def environment() -> dict[str, str]:
    unset = {"HEADRACE_REDIS_URL", "HEADRACE_FILES", "OPENAI_API_KEY", "MODEL"}
    return {name: value for name, value in os.environ.items() if name not in unset} | {"HEADRACE_DRAIN_S": "3"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "in.jsonl").write_text('{"text": "[[rehearsal latency=60000]] Wait."}\n')
    yield tmp_path
    for pid in tree(tmp_path):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize("command", [DEMO, RUN, EXTRACT], ids=["demo", "run", "extract"])
def test_the_service_ends_with_who_started_it(
    folder: Path, environment: dict[str, str], command: list[str], sig: signal.Signals
) -> None:
    if sig != signal.SIGKILL and command is not DEMO:
        pytest.skip("a signal that can be handled ends it in order: test_interrupt.py")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        ready = folder / ".headrace" / "up.json"
        until(lambda: ready.exists() or process.poll() is not None, what="the service is up")
        assert process.poll() is None, (folder / "log").read_text()
        process.send_signal(sig)
    finally:
        process.wait(60) if process.poll() is None and sig != signal.SIGKILL else process.kill()
        process.wait()
    until(lambda: tree(folder) == [], what="nothing is left", seconds=90)


def test_the_tests_own_service_ends_with_them(folder: Path) -> None:
    with started(folder, "--no-flower") as stack:
        assert stack.process.stdin is not None
        stack.process.stdin.close()  # as when this process is killed
        assert stack.process.wait(30) == 0
    until(lambda: tree(folder) == [], what="nothing is left", seconds=5)
