"""The same command again goes on where the one before has stopped: it joins a batch that is open, and pays what has failed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import Stack, headrace, started, until

from headrace import Headrace
from headrace.settings import Settings

MODEL = "rehearsal/small"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("service"), "--no-flower") as stack:
        yield stack


@pytest.fixture(params=["redis", "gateway"])
def service(request: pytest.FixtureRequest, stack: Stack) -> dict[str, str]:
    """The environment of a command that goes to Redis, or through the gateway."""
    environment = dict(stack.client_environment)
    if request.param == "gateway":
        del environment["HEADRACE_REDIS_URL"], environment["HEADRACE_FILES"]
        environment["HEADRACE_API"] = stack.ready["gateway"]
    return environment


def command(stack: Stack, service: dict[str, str], source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return headrace("extract", str(source), "--model", MODEL, *arguments, env=service, cwd=stack.folder)


def written(stack: Stack, name: str, texts: list[str]) -> Path:
    source = stack.folder / name
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return source


def values(done: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line).get("value") for line in done.stdout.splitlines()]


def test_joins_a_batch_that_is_open(stack: Stack, service: dict[str, str], request: pytest.FixtureRequest) -> None:
    source = written(stack, "open.jsonl", [f"[[rehearsal latency=8000]] {request.node.name} {n}" for n in range(5)])
    before = len(stack.calls())
    first = command(stack, service, source, "--detach").stdout.strip()
    again = command(stack, service, source, "--detach")
    assert (again.returncode, again.stdout.strip()) == (0, first)
    assert "joined" in again.stderr
    assert "--new" in again.stderr
    done = command(stack, service, source)
    assert (done.returncode, len(values(done))) == (0, 5)
    assert len(stack.calls()) - before == 5
    other = command(stack, service, source, "--new", "--detach")
    assert other.stdout.strip() not in ("", first)


def test_of_two_at_once_the_second_joins(stack: Stack, service: dict[str, str], request: pytest.FixtureRequest) -> None:
    """As when a nightly job is started twice: also where no cache would keep the second from paying."""
    source = written(stack, "twice.jsonl", [f"[[rehearsal latency=8000]] {request.node.name} {n}" for n in range(5)])
    before = len(stack.calls())
    words = ("extract", str(source), "--model", MODEL, "--no-cache", "--detach")
    both = [
        subprocess.Popen([sys.executable, "-m", "headrace", *words], env=service, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({each.communicate(timeout=60)[0] for each in both}) == 1
    assert {each.returncode for each in both} == {0}
    done = command(stack, service, source, "--no-cache")
    assert (done.returncode, len(values(done))) == (0, 5)
    assert len(stack.calls()) - before == 5


def test_a_paused_batch_goes_on(stack: Stack, service: dict[str, str], request: pytest.FixtureRequest) -> None:
    source = written(stack, "paused.jsonl", [f"[[rehearsal latency=5000]] {request.node.name} {n}" for n in range(100)])
    batch = command(stack, service, source, "--detach").stdout.strip()
    with stack.client as client:  # as the disk guard does
        client.hset(f"{{hr}}:batch:{batch}", mapping={"state": "paused", "reason": "no room"})
    again = command(stack, service, source)
    assert "no room" in again.stderr
    assert (again.returncode, len(values(again))) == (0, 100), again.stderr
    assert len(stack.calls_of(batch)) == 100
    whole = command(stack, service, source, "--detach")
    assert whole.stdout.strip() != batch, "it had all succeeded: a new one, which the cache answers"
    assert "joined" not in whole.stderr


def test_pays_what_was_not_answered_before(
    stack: Stack, service: dict[str, str], request: pytest.FixtureRequest
) -> None:
    texts = [f"{request.node.name} {n}" for n in range(4)] + [f"[[rehearsal latency=10000]] {request.node.name}"]
    source = written(stack, "failed.jsonl", texts)
    before = len(stack.calls())
    batch = command(stack, service, source, "--detach").stdout.strip()
    until(lambda: stack.batch(batch).get("succeeded") == "4", what="all but one are answered")
    with Headrace(settings=Settings.load(stack.client_environment)) as client:
        client.batch(batch).cancel()
    until(lambda: stack.batch(batch).get("state") == "cancelled", what="it is cancelled")
    assert len(stack.calls()) - before == 5
    again = command(stack, service, source)
    assert (again.returncode, len(values(again))) == (0, 5), again.stderr
    assert "1 of 5 items" in again.stderr
    assert len(stack.calls()) - before == 6
    edited = written(stack, "failed.jsonl", [*texts[:3], f"edited {request.node.name}", texts[4]])
    done = command(stack, service, edited)
    assert done.returncode == 0
    assert len(stack.calls()) - before == 7, "the edited line alone"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv.gz", "rows.parquet"])
def test_goes_on_over_its_own_results(
    stack: Stack, service: dict[str, str], request: pytest.FixtureRequest, name: str
) -> None:
    source = written(stack, "again.jsonl", [f"{request.node.name}", f"[[rehearsal fault=400]] {request.node.name}"])
    out = stack.folder / f"{len(stack.calls())}-{name}"
    words = ("--out", str(out))
    assert command(stack, service, source, *words).returncode == 1
    calls = len(stack.calls())
    again = command(stack, service, source, *words)
    assert again.returncode == 1, again.stderr
    assert "has done the same but for 1 of 2 items" in again.stderr
    assert len(stack.calls()) == calls + 1
    assert "exists already" in command(stack, service, source, *words, "--new").stderr, "another batch's results"
    out.write_bytes(out.read_bytes() + b"\n")
    edited = command(stack, service, source, *words)
    assert edited.returncode == 2
    assert "exists already" in edited.stderr
    assert len(stack.calls()) == calls + 1


def test_has_nothing_left_to_do(stack: Stack, service: dict[str, str], request: pytest.FixtureRequest) -> None:
    source = written(stack, "done.jsonl", [request.node.name])
    out = stack.folder / f"done-{len(stack.calls())}.csv"
    assert command(stack, service, source, "--out", str(out)).returncode == 0
    calls, before = len(stack.calls()), out.stat()
    again = command(stack, service, source, "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert "nothing is left to do" in again.stderr
    assert (len(stack.calls()), out.stat().st_mtime_ns) == (calls, before.st_mtime_ns)
    other = command(stack, service, source, "--prompt", "Another: {text}", "--out", str(out))
    assert (other.returncode, "exists already" in other.stderr) == (2, True)
    assert len(stack.calls()) == calls
