"""What failed is counted by its code, what was called again is counted, and a retry may choose by code: on a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import Stack, started

from headrace import AsyncHeadrace, Headrace
from headrace.errors import CODES, InputError
from headrace.settings import Settings

MODEL = "rehearsal/small"
SCHEMA = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
LINES = [
    {"id": "good 1", "text": "The kettle boils."},
    {"id": "miss 1", "text": "[[rehearsal fault=miss]] x"},
    {"id": "bad", "text": "[[rehearsal fault=400]] x"},
    {"id": "miss 2", "text": "[[rehearsal fault=miss]] x"},
    {"id": "good 2", "text": "[[rehearsal fault=503 times=2]] The lid is loose."},
    {"id": "cut", "text": "[[rehearsal fault=length]] x"},
]
FAILED = {"miss 1": "invalid_output", "bad": "invalid_request", "miss 2": "invalid_output", "cut": "truncated"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("codes"), "--no-flower") as stack:
        (stack.folder / "schema.json").write_text(json.dumps(SCHEMA))
        (stack.folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
        yield stack


@pytest.fixture(scope="module")
def done(stack: Stack) -> Any:
    return stack.run("extract", "lines.jsonl", "--schema", "schema.json", "--model", MODEL, "--out", "first.jsonl")


@pytest.fixture(scope="module")
def batch_id(done: Any) -> str:
    return done.stderr.split(":")[0].split()[-1]


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"])) as client:
        yield client


def rows(path: Path) -> dict[str, str]:
    """custom_id → `good`, or the code of its failure."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["custom_id"]: line["error"]["code"] if "error" in line else "good" for line in lines}


def test_the_final_line_tells_the_codes_and_what_was_called_again(done: Any) -> None:
    assert done.returncode == 1
    assert (
        "4 of 6 items did not succeed (2 invalid_output, 1 invalid_request, 1 truncated), 2 calls were made again after a "
        "failure; see " in done.stderr
    )


def test_show_tells_the_same(stack: Stack, batch_id: str) -> None:
    shown = json.loads(stack.run("batches", "show", batch_id).stdout)
    assert shown["codes"] == {"invalid_output": 2, "invalid_request": 1, "truncated": 1}
    assert (shown["failed"], shown["retried"], shown["usage_unknown"]) == (4, 2, 0)


def test_a_retry_of_one_code_pays_for_that_alone_and_keeps_the_others(stack: Stack, batch_id: str) -> None:
    again = stack.run("batches", "retry", batch_id, "--code", "invalid_output", "--out", "again.jsonl")
    new = again.stderr.split(" ")[0]
    assert len(stack.calls_of(new)) == 2
    assert rows(stack.folder / "again.errors.jsonl") == FAILED
    assert (stack.folder / "again.jsonl").read_bytes() == (stack.folder / "first.jsonl").read_bytes()
    assert [*rows(stack.folder / "again.errors.jsonl")] == [*FAILED], "in input order"
    shown = json.loads(stack.run("batches", "show", new).stdout)
    assert shown["codes"] == {"invalid_output": 2, "invalid_request": 1, "truncated": 1}
    assert (shown["succeeded"], shown["failed"], shown["retry_of"]) == (2, 4, batch_id)
    # Of the retry's own failures one code may be chosen in turn: what was kept is an error line like the others.
    third = stack.run(
        "batches", "retry", new, "--code", "truncated", "--code", "invalid_request", "--out", "third.jsonl"
    )
    assert len(stack.calls_of(third.stderr.split(" ")[0])) == 2
    assert rows(stack.folder / "third.errors.jsonl") == FAILED


def test_without_a_code_all_that_failed_is_run(stack: Stack, batch_id: str) -> None:
    again = stack.run("batches", "retry", batch_id, "--out", "all.jsonl")
    assert len(stack.calls_of(again.stderr.split(" ")[0])) == 4


def test_a_code_that_is_none_is_refused_with_the_list(stack: Stack, batch_id: str) -> None:
    refused = stack.run("batches", "retry", batch_id, "--code", "invalid")
    assert refused.returncode == 2
    assert all(code in refused.stderr for code in ("'invalid'", *CODES))
    nothing = stack.run("batches", "retry", batch_id, "--code", "timeout")
    assert nothing.returncode == 2
    assert "no item that failed with timeout; it has 2 invalid_output, 1 invalid_request, 1 truncated" in nothing.stderr


async def test_from_python(client: Headrace, stack: Stack, batch_id: str) -> None:
    batch = client.batch(batch_id)
    assert batch.progress().codes == {"invalid_output": 2, "invalid_request": 1, "truncated": 1}
    again = batch.retry(codes=["truncated"])
    assert again.wait(60).codes == batch.progress().codes
    assert len(stack.calls_of(again.id)) == 1
    for codes in (["invalid"], [], "truncated"):
        with pytest.raises(InputError):
            batch.retry(codes=codes)
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"])) as other:
        handle = await other.batch(batch_id).retry(["truncated"])
        assert (await handle.wait(60)).retry_of == batch_id


def test_counts_items_left_by_a_cancellation_as_batch_cancelled(client: Headrace) -> None:
    batch = client.extract(["[[rehearsal fault=hang]] x"] * 3, model=MODEL)
    batch.cancel()
    assert batch.wait(60).codes == {"batch_cancelled": 3}
    again = batch.retry(codes=["batch_cancelled"])
    again.cancel()
    assert again.wait(60).codes == {"batch_cancelled": 3}
