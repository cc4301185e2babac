"""A client that checks a type is interrupted or killed: what it had refused stays so, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from stack import Stack, started, until

ITEMS = 6
SOURCE = '''
from pydantic import BaseModel, field_validator


class Slow(BaseModel):
    """Takes what was asked for a second time, which takes a while."""

    stars: int

    @field_validator("stars")
    @classmethod
    def is_large(cls, stars: int) -> int:
        if stars < 1000:
            raise ValueError(f"write {stars + 1000} instead [[rehearsal latency=3000]]")
        return stars
'''


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("types"), "--no-flower") as stack:
        (stack.folder / "shapes.py").write_text(SOURCE)
        lines = [json.dumps({"id": f"r{n}", "text": f"stars: {n}"}) + "\n" for n in range(ITEMS)]
        (stack.folder / "lines.jsonl").write_text("".join(lines))
        yield stack


def asking_again(stack: Stack) -> tuple[subprocess.Popen[bytes], str]:
    """A client whose follow-up batch has begun to call, and the id of its batch."""
    before = len(stack.calls())
    words = (
        "extract",
        "--no-cache",
        "lines.jsonl",
        "--model",
        "rehearsal/small",
        "--schema",
        "shapes:Slow",
        "--reasks",
        "1",
    )
    command, environment = [sys.executable, "-m", "headrace", *words], stack.client_environment
    with (stack.folder / "client.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=stack.folder, env=environment, stdout=log, stderr=log)
    until(lambda: len(stack.calls()) == before + 2 * ITEMS, what="every item is asked for again")
    said = (stack.folder / "client.log").read_text()
    assert f"{ITEMS} answers that the type refuses are asked for again" in said
    return process, said.partition(":")[0]


def checked_later(stack: Stack, batch: str) -> None:
    """The follow-up that is there is gone on with: each item has cost two calls."""
    out = f"late-{batch}.jsonl"
    done = stack.run("batches", "check", batch, "--schema", "shapes:Slow", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (stack.folder / out).read_text().splitlines()]
    assert [row["value"]["stars"] for row in rows] == list(range(1000, 1000 + ITEMS))
    known = json.loads(stack.run("batches", "show", batch).stdout)
    assert (known["state"], known["succeeded"], known["failed"], known["reasks"]) == ("completed", ITEMS, 0, ITEMS)


def test_interrupted_while_it_asks_again(stack: Stack) -> None:
    before = len(stack.calls())
    process, batch = asking_again(stack)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    said = (stack.folder / "client.log").read_text()
    assert f"headrace batches check {batch} --schema shapes:Slow" in said
    assert "Traceback" not in said
    checked_later(stack, batch)
    assert len(stack.calls()) == before + 2 * ITEMS


def test_killed_while_it_asks_again(stack: Stack) -> None:
    before = len(stack.calls())
    process, batch = asking_again(stack)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    checked_later(stack, batch)
    assert len(stack.calls()) == before + 2 * ITEMS
