"""Types that ask for more than their schema can say: whatever they refuse has failed, for everybody, and is asked for again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, field_validator
from stack import Stack, started, until

from headrace import Headrace
from headrace.errors import InputError, JobFailed, WaitTimeout
from headrace.ledger.summaries import Batch
from headrace.settings import Settings

BOTH_WAYS = True
MODEL = "rehearsal/small"
SCHEMA = {"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}
SOURCE = '''
from pydantic import BaseModel, field_validator


class Even(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def is_even(cls, stars: int) -> int:
        if stars % 2:
            raise ValueError(f"{stars} is odd")
        return stars


class Told(BaseModel):
    """Takes what was asked for a second time: the number in the refusal."""

    stars: int

    @field_validator("stars")
    @classmethod
    def is_large(cls, stars: int) -> int:
        if stars < 1000:
            raise ValueError(f"write {stars + 1000} instead")
        return stars


class Exiting(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def is_even(cls, stars: int) -> int:
        if stars % 2:
            raise SystemExit(0)
        return stars
'''


class Even(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def is_even(cls, stars: int) -> int:
        if stars % 2:
            raise ValueError(f"{stars} is odd")
        return stars


class Told(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def is_large(cls, stars: int) -> int:
        if stars < 1000:
            raise ValueError(f"write {stars + 1000} instead")
        return stars


class Stubborn(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def never(cls, stars: int) -> int:
        raise LookupError(f"write {stars + 1} instead")  # no ValueError: Pydantic lets it through


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("types"), "--no-flower") as stack:
        (stack.folder / "shapes.py").write_text(SOURCE)
        yield stack


def texts(count: int, first: int = 0) -> list[dict[str, Any]]:
    """The stand-in writes the number that the last message has."""
    return [{"id": f"r{n}", "text": f"stars: {n}"} for n in range(first, first + count)]


def counters(batch: Batch) -> tuple[Any, ...]:
    return batch.state, batch.succeeded, batch.failed, batch.codes, batch.refused


def test_rows_state_files_and_retry_agree(client: Headrace, stack: Stack, tmp_path: Path) -> None:
    batch = client.extract(texts(20), model=MODEL, schema=Even, cache=False)
    rows = list(batch.results())
    assert [row.ok for row in rows] == [n % 2 == 0 for n in range(20)]
    for n, row in enumerate(rows):
        if row.ok:
            assert row.value.stars == n
            continue
        assert (row.error.code, row.error.metadata, row.completion) == ("invalid_output", {"by": "type"}, None)
        assert json.loads(row.error.partial) == {"stars": n}
        with pytest.raises(JobFailed, match=f"{n} is odd"):
            _ = row.value
    ended = batch.wait(60)
    assert counters(ended) == ("completed", 10, 10, {"invalid_output": 10}, 10)
    # Everybody says the same, with the type and without it.
    for handle in (batch, client.batch(batch.id)):
        assert counters(handle.progress()) == counters(ended)
        again = list(handle.results())
        assert [(row.custom_id, row.ok) for row in again] == [(row.custom_id, row.ok) for row in rows]
        assert [row.error and row.error.partial for row in again] == [row.error and row.error.partial for row in rows]
        errors = handle.save(tmp_path / "rows.jsonl")
        assert errors is not None
        good, bad = (
            [json.loads(line) for line in path.read_text().splitlines()] for path in (tmp_path / "rows.jsonl", errors)
        )
        assert [row["custom_id"] for row in good] == [f"r{n}" for n in range(0, 20, 2)]
        assert [row["custom_id"] for row in bad] == [f"r{n}" for n in range(1, 20, 2)]
        assert all(row["error"]["code"] == "invalid_output" and "is odd" in row["error"]["message"] for row in bad)
    shown = stack.run("batches", "show", batch.id)
    assert (shown.returncode, json.loads(shown.stdout)["failed"]) == (1, 10)
    assert stack.run("batches", "results", batch.id).returncode == 1
    # A retry pays for what was refused, and for nothing else.
    before = len(stack.calls())
    retried = batch.retry(["invalid_output"])
    assert counters(retried.wait(60))[:3] == ("completed", 10, 10)
    assert len(stack.calls()) == before + 10
    kept = client.batch(batch.id).retry()
    assert kept.wait(60).succeeded == 20  # nobody has read these as the type
    assert len(stack.calls()) == before + 20
    assert counters(client.batch(kept.id, schema=Even).wait(60))[:3] == ("completed", 10, 10)


def test_waiting_alone_checks_the_rows(client: Headrace, tmp_path: Path) -> None:
    batch = client.extract(texts(300), model=MODEL, schema=Even, cache=False)
    assert counters(batch.wait(60)) == ("completed", 150, 150, {"invalid_output": 150}, 150)
    batch = client.extract(texts(4), model=MODEL, schema=SCHEMA, cache=False)
    assert batch.wait(60).succeeded == 4
    later = client.batch(batch.id, schema=Even)
    later.check()
    assert later.save(tmp_path / "rows.csv") == tmp_path / "rows.errors.csv"
    assert counters(later.progress())[:3] == ("completed", 2, 2)


def test_another_type_is_a_way_of_reading(client: Headrace) -> None:
    """A batch that was asked with a schema loses nothing to who reads it as a type, unless they say that it counts."""
    batch = client.extract(texts(4), model=MODEL, schema=SCHEMA, reasks=1, cache=False)
    assert batch.wait(60).succeeded == 4
    other = client.batch(batch.id, schema=Stubborn)
    assert [row.ok for row in other.results()] == [False] * 4
    assert counters(other.wait(60)) == ("completed", 4, 0, {}, 0)
    assert all(row.ok for row in batch.results())
    other.check(reask=False)
    assert counters(batch.progress()) == ("completed", 0, 4, {"invalid_output": 4}, 4)


def test_counts_failures_once_that_a_retry_takes_over(client: Headrace) -> None:
    bad = {"id": "bad", "text": "[[rehearsal fault=400 times=1]] stars: 4"}
    batch = client.extract([*texts(4), bad], model=MODEL, schema=Even, cache=False)
    assert counters(batch.wait(60)) == ("completed", 2, 3, {"invalid_output": 2, "invalid_request": 1}, 2)
    again = batch.retry(["invalid_request"])  # where the stand-in counts anew, and fails it anew
    kept = ("completed", 2, 3, {"invalid_output": 2, "invalid_request": 1})
    assert counters(again.wait(60))[:4] == kept
    assert [row.ok for row in again.results()] == [True, False, True, False, False]
    assert counters(again.progress())[:4] == kept


def test_reasks_for_values_that_the_type_refuses(client: Headrace, stack: Stack) -> None:
    before = len(stack.calls())
    batch = client.extract([*texts(5), *texts(5, 1000)], model=MODEL, schema=Told, reasks=2, cache=False)
    rows = list(batch.results())
    assert [row.value.stars for row in rows] == [*range(1000, 1005), *range(1000, 1005)]
    assert [row.completion.reasks for row in rows if row.completion] == [1] * 5 + [0] * 5
    assert len(stack.calls()) == before + 15
    first, second = rows[0].completion, rows[5].completion
    assert first
    assert second
    assert first.usage.input_tokens > 2 * second.usage.input_tokens  # the line says what it cost in all
    ended = batch.wait(60)
    assert counters(ended) == ("completed", 10, 0, {}, 0)
    assert (ended.id, ended.reasks) == (batch.id, 5)
    assert ended.input_tokens == sum(row.completion.usage.input_tokens for row in rows if row.completion)
    # From anywhere, by the first id.
    other = client.batch(batch.id)
    assert other.progress() == ended
    assert [row.value["stars"] for row in other.results()] == [*range(1000, 1005), *range(1000, 1005)]
    assert len(stack.calls()) == before + 15


def test_asking_again_ends(client: Headrace, stack: Stack) -> None:
    before = len(stack.calls())
    batch = client.extract(texts(3), model=MODEL, schema=Stubborn, reasks=2, cache=False)
    ended = batch.wait(60)
    assert counters(ended) == ("completed", 0, 3, {"invalid_output": 3}, 3)
    assert (ended.reasks, len(stack.calls())) == (6, before + 9)
    assert [row.error.code for row in batch.results() if row.error] == ["invalid_output"] * 3
    assert len(stack.calls()) == before + 9


def test_a_batch_that_is_cancelled_asks_nothing_again(client: Headrace, stack: Stack) -> None:
    slow = {"id": "slow", "text": "[[rehearsal latency=60000]] stars: 2000"}
    batch = client.extract([*texts(1), slow], model=MODEL, schema=Told, reasks=1, cache=False)
    with ThreadPoolExecutor(1) as pool:
        rows = pool.submit(lambda: list(batch.results()))
        until(lambda: batch.progress().refused == 1, what="the first row is refused as it comes")
        batch.cancel()
        assert [row.error.code for row in rows.result(60) if row.error] == ["invalid_output", "batch_cancelled"]
    assert counters(batch.wait(60))[:3] == ("cancelled", 0, 1)
    assert batch.progress().reasked_as == ""
    again = batch.retry(["invalid_output"])
    assert [row.error and row.error.code for row in again.results()] == [None, "batch_cancelled"]


def test_waiting_in_small_portions_comes_to_an_end(client: Headrace, stack: Stack) -> None:
    before = len(stack.calls())
    batch = client.extract(texts(200), model=MODEL, schema=Told, reasks=1, cache=False)

    def ended() -> Batch | None:
        with suppress(WaitTimeout):
            return batch.wait(0.05)
        return None

    assert counters(until(ended, what="it has ended"))[:3] == ("completed", 200, 0)
    assert len(stack.calls()) == before + 400


def test_two_clients_ask_once(stack: Stack) -> None:
    before = len(stack.calls())

    def opened() -> Headrace:
        return Headrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"]))

    async def both(batch_id: str) -> list[Any]:
        with opened() as one, opened() as other:
            handles = [client.batch(batch_id, schema=Told) for client in (one, other)]
            return await asyncio.gather(*(asyncio.to_thread(handle.wait, 60) for handle in handles))

    with opened() as client:
        batch = client.extract(texts(10), model=MODEL, schema=Told, reasks=1, cache=False).id
    ended = asyncio.run(both(batch))
    assert [counters(each)[:3] for each in ended] == [("completed", 10, 0)] * 2
    assert len(stack.calls()) == before + 20


def test_a_job_that_the_type_refuses_says_so(client: Headrace) -> None:
    for schema, what in ((Even, "3 is odd"), (Stubborn, "LookupError")):
        job = client.submit(MODEL, "stars: 3", schema=schema)
        with pytest.raises(JobFailed, match=what) as raised:
            job.result(60)
        assert (raised.value.code, json.loads(raised.value.partial or "")) == ("invalid_output", {"stars": 3})


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("more", [(), ("--stream",), ("--json",)])
def test_a_job_of_the_command_line_too(stack: Stack, more: tuple[str, ...]) -> None:
    words = ("--model", MODEL, "--schema", "shapes:Even", *more)
    assert stack.run("run", "stars: 4", *words).returncode == 0
    done = stack.run("run", "stars: 3", *words)
    assert (done.returncode, "3 is odd" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def write(stack: Stack, count: int) -> str:
    (stack.folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts(count)))
    return "lines.jsonl"


def test_the_command_line_checks_and_asks_again(stack: Stack) -> None:
    words = ("extract", write(stack, 6), "--model", MODEL, "--out", "typed.jsonl", "--schema")
    done = stack.run(*words, "shapes:Even")
    assert done.returncode == 1, done.stderr
    assert "3 of 6 items did not succeed (3 invalid_output)" in done.stderr
    assert [line["custom_id"] for line in read(stack.folder / "typed.jsonl")] == ["r0", "r2", "r4"]
    assert (stack.folder / "typed.errors.jsonl").read_text().count("is odd") == 3
    done = stack.run(*words, "shapes:Told", "--reasks", "1", "--force")
    assert done.returncode == 0, done.stderr
    assert "6 answers that the type refuses are asked for again: batch_" in done.stderr
    lines = read(stack.folder / "typed.jsonl")
    assert [line["value"]["stars"] for line in lines] == list(range(1000, 1006))
    assert not (stack.folder / "typed.errors.jsonl").exists()


def test_with_the_client_gone_nothing_is_asked_and_check_does_it_later(stack: Stack) -> None:
    asked = ("--model", MODEL, "--no-cache", "--schema", "shapes:Told", "--reasks", "1", "--detach")
    words = ("extract", write(stack, 4), *asked)
    batch = stack.run(*words).stdout.strip()
    assert stack.run("watch", batch).returncode == 0  # it fits the schema
    calls = len(stack.calls())
    done = stack.run("batches", "check", batch, "--schema", "shapes:Told", "--out", "late.jsonl")
    assert done.returncode == 0, done.stderr
    assert len(stack.calls()) == calls + 4
    lines = read(stack.folder / "late.jsonl")
    assert [line["value"]["stars"] for line in lines] == list(range(1000, 1004))
    known = json.loads(stack.run("batches", "show", batch).stdout)
    assert (known["succeeded"], known["reasks"], known["reasked_as"][:6]) == (4, 4, "batch_")
    assert stack.run("batches", "check", batch, "--schema", "schema.json").returncode == 2


def test_a_batch_that_was_asked_for_text_is_read_as_no_type(client: Headrace, stack: Stack) -> None:
    batch = client.extract(texts(2), model=MODEL, cache=False)
    assert batch.wait(60).succeeded == 2
    typed = client.batch(batch.id, schema=Even)
    for ask in (lambda: list(typed.results()), typed.check, lambda: typed.wait(60)):
        with pytest.raises(InputError, match="asked without a schema"):
            ask()
    done = stack.run("batches", "check", batch.id, "--schema", "shapes:Even")
    assert (done.returncode, "asked without a schema" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert [type(row.value) for row in batch.results()] == [str, str]
    job = client.submit(MODEL, "stars: 4")
    assert isinstance(job.result(60), str)
    with pytest.raises(JobFailed, match="asked without a schema"):
        client.job(job.id, schema=Even).result(60)


def test_checking_a_batch_that_is_not_there_says_so(stack: Stack) -> None:
    done = stack.run("batches", "check", "batch_nope", "--schema", "shapes:Even")
    assert done.returncode > 0
    assert ("batch_nope" in done.stderr, "Traceback" in done.stderr) == (True, False)


class Exiting(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def is_even(cls, stars: int) -> int:
        if stars % 2:
            raise (SystemExit(0), KeyboardInterrupt())[stars % 4 // 2]
        return stars


def test_a_validator_that_exits_refuses(client: Headrace, stack: Stack, tmp_path: Path) -> None:
    batch = client.extract(texts(4), model=MODEL, schema=Exiting, cache=False)
    assert [row.ok for row in batch.results()] == [True, False, True, False]
    assert counters(batch.wait(60)) == ("completed", 2, 2, {"invalid_output": 2}, 2)
    out = tmp_path / "exiting.jsonl"
    done = stack.run("extract", write(stack, 4), "--model", MODEL, "--schema", "shapes:Exiting", "--out", str(out))
    assert (done.returncode, len(read(out))) == (1, 2), done.stderr


class Dated(msgspec.Struct):
    when: datetime


def test_workers_validate_dates_and_keys_of_the_schema(client: Headrace) -> None:
    for schema in (Dated, dict[int, str]):
        batch = client.extract(texts(5), model=MODEL, schema=schema, cache=False)
        ended = batch.wait(60)
        rows = list(batch.results())
        assert (ended.refused, ended.succeeded) == (0, sum(row.ok for row in rows))
        assert ended.succeeded
        assert all(isinstance(row.value, schema if schema is Dated else dict) for row in rows if row.ok)
