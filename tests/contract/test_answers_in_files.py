"""What the cache in Redis has no room for is found in the outputs of closed batches, judged by the provider's own account."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import Stack, started, until

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["n", "note"],
    "additionalProperties": False,
}
TEXTS = [f"number {number}: " + "a long line of words " * 20 for number in range(4000)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("service")
    with started(folder, "--no-flower", environment={"HEADRACE_CACHE_MB": "1"}) as stack:
        yield stack


def extract(stack: Stack, texts: list[str], *arguments: str) -> tuple[list[dict[str, Any]], int]:
    """Return the rows, and the number of calls that they took."""
    source = stack.folder / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    before = len(stack.calls())
    done = stack.run("extract", str(source), "--model", "rehearsal/small", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], len(stack.calls()) - before


def write(stack: Stack, name: str, content: Any) -> Path:
    path = stack.folder / name
    path.write_text(json.dumps(content))
    return path


def test_an_edited_file_pays_what_changed_though_redis_has_no_room_for_it(stack: Stack) -> None:
    first, calls = extract(stack, TEXTS)
    assert calls == len(TEXTS)
    edited = [f"{text} edited" if number % 40 == 7 else text for number, text in enumerate(TEXTS)]
    second, calls = extract(stack, edited, "--weight", "20")
    assert calls == 100
    assert [row["custom_id"] for row in second] == [row["custom_id"] for row in first]
    assert [a for n, a in enumerate(first) if n % 40 != 7] == [b for n, b in enumerate(second) if n % 40 != 7]
    # What was given again is found where it was paid: in the first batch, what was edited in the second.
    third, calls = extract(stack, [*reversed(edited), "a new one"])
    assert calls == 1
    assert [row["value"] for row in third[:-1]] == [row["value"] for row in reversed(second)]
    shown = json.loads(stack.run("batches", "list", "--limit", "1", "--json").stdout)
    assert shown["cached"] == len(TEXTS)


def test_values_under_a_schema_are_found_as_they_were(stack: Stack) -> None:
    schema = str(write(stack, "schema.json", SCHEMA))
    first, calls = extract(stack, TEXTS[:2500], "--schema", schema)
    assert calls == 2500
    second, calls = extract(stack, TEXTS[:2500], "--schema", schema, "--weight", "11")
    assert calls == 0
    assert first == second
    assert {row["value"]["n"].__class__ for row in second} == {int}
    _, calls = extract(stack, TEXTS[:2500], "--schema", schema, "--cache", "read", "--weight", "12")
    assert calls == 0
    _, calls = extract(stack, TEXTS[:100], "--schema", schema, "--variant", "another")
    assert calls == 100


def test_an_emptied_cache_has_none_of_it(stack: Stack) -> None:
    texts = [f"to be emptied {text}" for text in TEXTS[:300]]
    assert extract(stack, texts)[1] == 300
    assert stack.run("cache", "clear").returncode == 0
    assert extract(stack, texts, "--weight", "11")[1] == 300


def test_what_was_paid_around_a_crash_is_found_again(stack: Stack) -> None:
    texts = [f"[[rehearsal latency=400]] around a crash: {text}" for text in TEXTS[:1500]]
    source = write(stack, "crash.json", [{"text": text} for text in texts])
    batch = stack.run("extract", str(source), "--model", "rehearsal/small", "--detach").stdout.strip()
    until(lambda: int(stack.batch(batch)["succeeded"]) > 200, what="some are answered")
    os.kill(stack.ready["workers"]["bulk"], signal.SIGKILL)
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch has ended", seconds=90)
    paid = len(stack.calls_of(batch))
    extract(stack, [f"to push the others out of the cache: {text}" for text in TEXTS[:2500]])
    _, calls = extract(stack, texts, "--weight", "11")
    # Not found are those that the dead worker had cached without a row: they were given again, and are no answers of this batch.
    assert calls <= int(stack.batch(batch).get("cached", 0)) < 100
    assert paid > 1500
