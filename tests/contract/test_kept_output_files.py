"""The command line destroys no file: `--out` against the input, against what is there, against what it wrote itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from stack import Stack, started

MODEL = ("--model", "rehearsal/small")
LINES = '{"id": "a", "text": "The kettle boils."}\n{"id": "b", "text": "[[rehearsal fault=400 times=1]] The lid."}\n'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("kept"), "--no-flower") as running:
        (running.folder / "in.jsonl").write_text(LINES)
        yield running


def test_the_input_survives_whatever_it_is_called(stack: Stack) -> None:
    (stack.folder / "link.jsonl").symlink_to("in.jsonl")
    before = len(stack.calls())
    for out in ("in.jsonl", "link.jsonl", str(stack.folder / "in.jsonl")):
        done = stack.run("extract", "in.jsonl", *MODEL, "--out", out, "--force")
        assert (done.returncode, "is the same file as" in done.stderr) == (2, True), done.stderr
    with (stack.folder / "in.jsonl").open() as file:
        done = stack.run("extract", "-", *MODEL, "--out", "in.jsonl", "--force", stdin=file)
    assert (done.returncode, "is the input" in done.stderr) == (2, True), done.stderr
    assert (stack.folder / "in.jsonl").read_text() == LINES
    assert len(stack.calls()) == before


def test_overwrites_existing_files_with_force_or_if_they_are_the_batchs_own(stack: Stack) -> None:
    done = stack.run("extract", "in.jsonl", *MODEL, "--out", "rows.jsonl")
    assert done.returncode == 1, done.stderr
    batch_id = done.stderr.split(":")[0].split()[-1]
    rows, errors = stack.folder / "rows.jsonl", stack.folder / "rows.errors.jsonl"
    first = rows.read_text()
    calls = len(stack.calls())
    again = stack.run("extract", "in.jsonl", *MODEL, "--new", "--out", "rows.jsonl")
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    assert len(stack.calls()) == calls
    assert stack.run("watch", batch_id, "--out", "rows.jsonl").returncode == 1, "its own rows may be written again"
    assert stack.run("batches", "show", batch_id, "--out", "rows.jsonl").returncode == 1
    new = stack.run("batches", "retry", batch_id).stdout.strip()  # as after a Ctrl-C: it is returned to by `watch`
    for _ in range(2):
        assert stack.run("watch", new, "--out", "rows.jsonl").returncode in (0, 1), (
            "it retries the batch whose rows lie there"
        )
    other = stack.run("batches", "show", batch_id, "--out", "rows.jsonl", "--force")
    assert stack.run("batches", "retry", batch_id, "--out", "rows.jsonl").returncode in (0, 1)

    other = stack.run("batches", "show", batch_id, "--out", "rows.jsonl", "--force")
    assert other.returncode == 1, other.stderr
    assert rows.read_text() == first
    errors.write_text("notes of mine\n")
    calls = len(stack.calls())
    for command in (["watch"], ["batches", "show"], ["batches", "retry"]):
        done = stack.run(*command, batch_id, "--out", "rows.jsonl")
        assert (done.returncode, "exists already" in done.stderr) == (2, True), done.stderr
    assert errors.read_text() == "notes of mine\n"
    assert len(stack.calls()) == calls
    assert stack.run("extract", "in.jsonl", *MODEL, "--out", "rows.jsonl", "--force").returncode in (0, 1)


def test_keeps_a_file_that_appears_while_the_batch_runs(stack: Stack) -> None:
    slow = {"id": "a", "text": "[[rehearsal latency=3000]] The kettle."}
    (stack.folder / "slow.jsonl").write_text(json.dumps(slow) + "\n")
    with subprocess.Popen(
        [sys.executable, "-m", "headrace", "extract", "slow.jsonl", *MODEL, "--out", "late.jsonl"],
        cwd=stack.folder,
        env=stack.client_environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        batch_id = process.stderr.readline().split(":")[0]
        (stack.folder / "late.jsonl").write_text("mine")
        said = process.stderr.read()
    assert process.returncode == 1
    assert f"headrace batches show {batch_id} --out NAME" in said
    assert (stack.folder / "late.jsonl").read_text() == "mine"
    assert stack.run("batches", "show", batch_id, "--out", "other.jsonl").returncode == 0
    assert (stack.folder / "other.jsonl").read_text().startswith('{"custom_id":"a"')
