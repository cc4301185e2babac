"""The SDK against the whole service: jobs and batches from Python, sync and async, typed answers, every error."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel
from stack import Stack, until

from headrace import AsyncHeadrace, Headrace
from headrace.errors import (
    Conflict,
    Expired,
    Finished,
    InputError,
    JobFailed,
    SchemaError,
    SettingsError,
    Unknown,
    Unreachable,
    WaitTimeout,
)
from headrace.settings import Settings

pytestmark = pytest.mark.xdist_group("sdk")

MODEL = "rehearsal/small"


class Review(msgspec.Struct):
    summary: str
    stars: int


class Model(BaseModel):
    summary: str
    stars: int


class Part(BaseModel):
    name: str
    parts: list[Part] = []


@dataclasses.dataclass
class Record:
    summary: str
    stars: int


class Words(TypedDict):
    summary: str
    stars: int


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(stack.ready["redis"], settings=settings(stack)) as client:
        yield client


def settings(stack: Stack) -> Settings:
    return Settings(files=stack.ready["files"])


def paid_for(stack: Stack, record_id: str) -> list[Any]:
    return [call for call in stack.calls() if (call.request_id or "").startswith(record_id)]


def test_a_text_in_is_a_text_out(client: Headrace) -> None:
    job = client.submit(MODEL, "Say hello to the miller.")
    assert isinstance(job.result(30), str)
    assert job.status() == "succeeded"
    assert job.completion().usage.output_tokens > 0


@pytest.mark.parametrize("schema", [Review, Model, Record])
def test_an_answer_comes_back_as_the_type_asked_for(client: Headrace, schema: type[Any]) -> None:
    answer = client.submit(MODEL, "The mill is fine. Five stars.", schema=schema).result(30)
    assert type(answer) is schema
    assert isinstance(answer.summary, str)
    assert isinstance(answer.stars, int)


def test_an_answer_as_a_typed_dict_or_by_a_json_schema_is_a_dict(client: Headrace) -> None:
    assert set(client.submit(MODEL, "Fine.", schema=Words).result(30)) == {"summary", "stars"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert isinstance(client.submit(MODEL, "Fine.", schema=schema).result(30)["n"], int)


def test_a_job_is_found_again_from_another_process(client: Headrace, stack: Stack) -> None:
    job = client.submit(MODEL, "Remember me.", schema=Review)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(fetch, (stack.ready["redis"], stack.ready["files"], job.id))
    assert there == msgspec.to_builtins(job.result(30))


def fetch(url: str, files: str, job_id: str) -> Any:
    with Headrace(url, settings=Settings(files=files)) as client:
        return msgspec.to_builtins(client.job(job_id, schema=Review).result(30))


def test_a_wait_that_is_too_short_leaves_the_job_alone(client: Headrace) -> None:
    job = client.submit(MODEL, "[[rehearsal latency=1500]] Take your time.")
    with pytest.raises(WaitTimeout, match="goes on"):
        job.result(0.1)
    with pytest.raises(TimeoutError):
        job.result(timeout=0)
    assert job.result(30)


def test_a_cancelled_job_says_so_to_whoever_waits(client: Headrace) -> None:
    job = client.submit(MODEL, "[[rehearsal latency=20000]] Never mind.")
    until(lambda: job.status() == "running", what="it runs")
    threading.Timer(0.3, job.cancel).start()
    with pytest.raises(JobFailed) as failed:
        job.result(30)
    assert failed.value.code == "cancelled"
    assert until(lambda: job.status() == "cancelled", what="it is cancelled")
    done = client.submit(MODEL, "Quick.")
    done.result(30)
    with pytest.raises(Finished):
        done.cancel()


def test_a_failed_job_keeps_its_code_and_what_was_paid(client: Headrace) -> None:
    job = client.submit(MODEL, "[[rehearsal fault=miss times=9]] Fine.", schema=Review)
    with pytest.raises(JobFailed) as failed:
        job.result(30)
    assert failed.value.code == "invalid_output"
    assert failed.value.partial
    assert failed.value.errors
    assert "to do" in str(failed.value)


def test_a_lost_id_and_a_result_past_its_lifetime_are_two_things(client: Headrace, stack: Stack) -> None:
    with pytest.raises(Unknown, match="never submitted"):
        client.job("job_" + "a" * 26).result(1)
    job = client.submit(MODEL, "Short-lived.", ttl_s=1)
    job.result(30)

    record = f"{{hr}}:job:{job.id}:result"
    until(lambda: not stack.client.exists(record), what="the result is past its lifetime")
    with pytest.raises(Expired, match="lifetime"):
        job.result(5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"temprature": 0.1}, "temprature"),
        ({"temperature": 9}, "temperature"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": "soon"}, "ttl_s"),
        ({"stream": "yes"}, "stream"),
        ({"model": "small"}, "provider/model"),
        ({"model": "nobody/small"}, "nobody"),
        ({"model": 7}, "model"),
        ({"messages": 7}, "messages"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": None}, "messages"),
        ({"system": 7}, "system"),
        ({"idempotency_key": 7}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"messages": "\ud800"}, "surrogates"),
    ],
)
def test_a_callers_mistake_is_named_and_nothing_is_enqueued(client: Headrace, words: dict[str, Any], said: str) -> None:
    before = client.jobs(limit=1)
    call: dict[str, Any] = {"model": MODEL, "messages": "x", **words}
    with pytest.raises(InputError, match=said):
        client.submit(call.pop("model"), call.pop("messages"), **call)
    assert client.jobs(limit=1) == before


@pytest.mark.parametrize("schema", ["Review", 7, {"type": "strin"}, {"not": True, "enum": []}, lambda: None, object])
def test_a_type_that_cannot_be_carried_is_a_schema_error(client: Headrace, schema: Any) -> None:
    with pytest.raises(SchemaError, match="schema"):
        client.submit(MODEL, "x", schema=schema)


@pytest.mark.parametrize("url", ["nonsense", "redis://:pa/ss@host:1/0", "redis://host:port/0"])
def test_a_url_that_is_none_is_a_setting_to_mend(url: str) -> None:
    with pytest.raises(SettingsError, match="percent-encoded") as raised, Headrace(url):
        pass
    assert "pa/ss" not in str(raised.value)


@pytest.mark.parametrize("given", ["one text", None, 7])
def test_many_conversations_are_a_list(client: Headrace, given: Any) -> None:
    with pytest.raises(InputError, match="conversations"):
        client.submit_many(MODEL, given)


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_a_timeout_is_seconds(client: Headrace, timeout: Any) -> None:
    job = client.submit(MODEL, "x")
    assert job.result(30)
    with pytest.raises(InputError, match="timeout"):  # also of a job that has ended
        job.result(timeout)


@pytest.mark.parametrize("limit", [0, -1, "a"])
def test_a_list_has_a_limit_that_is_a_number(client: Headrace, limit: Any) -> None:
    for ask in (client.jobs, client.batches):
        with pytest.raises(InputError, match="limit"):
            ask(limit=limit)


def test_an_answer_that_its_type_does_not_take_is_a_failure_that_keeps_it(client: Headrace) -> None:
    class Early(msgspec.Struct):
        when: datetime

        def __post_init__(self) -> None:
            if self.when.year > 1:
                raise ValueError("too late")

    with pytest.raises(JobFailed, match="too late") as failed:
        client.submit(MODEL, "x", schema=Early).result(30)
    assert failed.value.code == "invalid_output"
    assert "when" in failed.value.partial
    (row,) = client.extract(["x"], model=MODEL, schema=Early).results()
    assert not row.ok
    with pytest.raises(JobFailed, match="not the type"):
        _ = row.value


def test_a_recursive_pydantic_model_is_carried(client: Headrace) -> None:
    assert isinstance(client.submit(MODEL, "A part 3", schema=Part).result(30), Part)


@pytest.mark.parametrize("given", ["", "batch_x", 7])
def test_an_id_of_something_else_is_refused(client: Headrace, given: Any) -> None:
    with pytest.raises(InputError, match="begin with `job_`"):
        client.job(given)


def test_a_service_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="headrace up"):
        Headrace(f"unix://{tmp_path}/nothing").submit(MODEL, "x")
    with pytest.raises(Unreachable, match=r"\*\*\*@127"), Headrace("redis://:secret@127.0.0.1:1/0"):
        pass


def test_fifty_submissions_under_one_key_are_one_job_paid_once(client: Headrace, stack: Stack) -> None:
    ids: list[str] = []
    prompt = "Only one of fifty."
    threads = [
        threading.Thread(target=lambda: ids.append(client.submit(MODEL, prompt, idempotency_key="fifty").id))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ids) == 50
    assert len(set(ids)) == 1
    client.job(ids[0]).result(30)
    assert len(paid_for(stack, ids[0])) == 1
    with pytest.raises(Conflict):
        client.submit(MODEL, "Another prompt.", idempotency_key="fifty")


def test_many_jobs_at_once_all_end(client: Headrace, stack: Stack) -> None:
    jobs = client.submit_many(MODEL, [f"Number {n}." for n in range(700)], system="Be short.", schema=Review)
    assert len({job.id for job in jobs}) == 700
    assert all(isinstance(job.result(60), Review) for job in jobs)
    paid = Counter((call.request_id or "").split(".")[0] for call in stack.calls())
    assert all(paid[job.id] == 1 for job in jobs)


def test_one_of_many_that_is_wrong_lets_none_in(client: Headrace) -> None:
    before = client.jobs(limit=1)
    with pytest.raises(InputError):
        client.submit_many(MODEL, ["good", 7])  # type: ignore[list-item]
    assert client.jobs(limit=1) == before


def test_jobs_are_listed_newest_first(client: Headrace) -> None:
    jobs = [client.submit(MODEL, f"List me {n}.") for n in range(3)]
    for job in jobs:
        job.result(30)
    listed = client.jobs(limit=3)
    assert {job.id for job in listed} == {job.id for job in jobs}
    assert all(job.state == "succeeded" and job.ended_ms and job.attempts == 1 for job in listed)


async def test_the_async_client_waits_for_many_at_once_on_few_connections(stack: Stack) -> None:
    async with AsyncHeadrace(stack.ready["redis"], settings=settings(stack)) as client:
        jobs = await client.submit_many(MODEL, [f"[[rehearsal latency=200]] {n}" for n in range(100)])
        answers = await asyncio.gather(*(job.result(60) for job in jobs))
        assert len(answers) == 100
        listed = await client.ledger.client.client_list()
        mine = [row for row in listed if row["name"] == "" and row["cmd"] in {"subscribe", "unsubscribe"}]
        assert len(mine) <= 1


async def test_a_waiter_survives_the_loss_of_its_connections(stack: Stack) -> None:
    async with AsyncHeadrace(stack.ready["redis"], settings=settings(stack)) as client:
        job = await client.submit(MODEL, "[[rehearsal latency=1500]] Wait for me.")
        waiting = asyncio.create_task(job.result(30))
        for _ in range(4):
            await asyncio.sleep(0.3)
            await client.ledger.client.client_kill_filter(_type="pubsub")
        assert await waiting


def test_a_child_after_a_fork_has_connections_of_its_own(client: Headrace) -> None:
    mine = client.submit(MODEL, "Before the fork.")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = client.submit(MODEL, "In the child.").result(30)
            os.write(write, b"ok" if text and client.job(mine.id).result(30) else b"no")
        except BaseException as error:
            os.write(write, repr(error).encode()[:200])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b"ok"
    os.waitpid(child, 0)
    assert mine.result(30)


# Batches.


def test_rows_come_in_input_order_as_the_type_asked_for(client: Headrace, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": f"r{n}", "text": f"Review {n}"}) + "\n" for n in range(300)))
    batch = client.extract(source, "Rate: {text}", schema=Model, model=MODEL)
    rows = list(batch.results())
    assert [row.custom_id for row in rows] == [f"r{n}" for n in range(300)]
    assert all(isinstance(row.value, Model) for row in rows)
    assert batch.wait(60).succeeded == 300
    again = [(row.custom_id, row.value) for row in client.batch(batch.id, schema=Model).results()]
    assert again == [(row.custom_id, row.value) for row in rows]


def test_the_first_rows_are_there_before_the_batch_has_ended(client: Headrace) -> None:
    slow = ["quick one", *(f"[[rehearsal latency=4000]] slow {n}" for n in range(20))]
    batch = client.extract(slow, model=MODEL)
    first = next(iter(batch.results()))
    assert first.custom_id == "line-1"
    assert first.value
    assert not batch.progress().ended
    batch.cancel()


def test_failed_rows_stand_in_their_places(client: Headrace) -> None:
    items = [{"id": n, "text": "[[rehearsal fault=miss times=9]] x" if n % 3 == 0 else "fine"} for n in range(60)]
    batch = client.extract(items, schema=Review, model=MODEL)
    for closed in (False, True):  # from the parts, and from the output files
        rows = list(batch.results())
        assert [row.custom_id for row in rows] == [str(n) for n in range(60)]
        assert [row.ok for row in rows] == [n % 3 != 0 for n in range(60)]
        with pytest.raises(JobFailed, match="invalid_output"):
            _ = rows[0].value
        if not closed:
            batch.wait(60)


def test_a_retry_that_is_cancelled_keeps_what_was_paid(client: Headrace, stack: Stack) -> None:
    """Also the rows that none of its shards had taken over yet."""
    prompts = [f"Say {n}." for n in range(2000)] + ["[[rehearsal fault=400]] x"] * 3
    batch = client.extract(prompts, model=MODEL)
    assert batch.wait(60).succeeded == 2000
    paid = len(stack.calls())
    again = batch.retry()
    again.cancel()
    known = again.wait(30)
    assert (known.state, known.succeeded) == ("cancelled", 2000)
    assert known.succeeded + known.failed + known.cancelled == 2003
    rows = list(again.results())
    assert [row.custom_id for row in rows if row.ok] == [row.custom_id for row in batch.results() if row.ok]
    assert len(stack.calls()) - paid <= 3


def test_a_retry_keeps_what_succeeded_and_pays_the_rest(client: Headrace, stack: Stack) -> None:
    items = [{"id": n, "text": "[[rehearsal fault=miss times=1]] x" if n < 2 else "fine"} for n in range(10)]
    batch = client.extract(items, schema=Review, model=MODEL)
    assert batch.wait(60).failed == 2
    again = batch.retry()
    # The provider counts its faults by the call's identity, which is new in a retry: so both fail there once more.
    assert [row.ok for row in again.results()] == [False] * 2 + [True] * 8
    assert len(paid_for(stack, again.id)) == 2
    assert again.progress().retry_of == batch.id
    with pytest.raises(InputError, match="retried after it has ended"):
        client.extract(["[[rehearsal latency=9000]] x"], model=MODEL).retry()


def test_results_are_saved_as_csv_with_what_failed_beside(client: Headrace, tmp_path: Path) -> None:
    batch = client.extract(["fine", "[[rehearsal fault=miss times=9]] x"], schema=Review, model=MODEL)
    batch.wait(60)
    errors = batch.save(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] in {"custom_id,summary,stars", "custom_id,stars,summary"}
    assert errors == tmp_path / "rows.errors.csv"
    assert "invalid_output" in errors.read_text()


def test_limit_and_sample_choose_items(client: Headrace) -> None:
    items = [{"id": n, "text": "x"} for n in range(100)]
    assert [row.custom_id for row in client.extract(items, model=MODEL, limit=3).results()] == ["0", "1", "2"]
    sampled = [int(row.custom_id) for row in client.extract(items, model=MODEL, sample=5).results()]
    assert len(sampled) == 5
    assert sampled == sorted(sampled)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "no item"),
        ([7], "item 1"),
        ([{"text": "a"}, {"txet": "b"}], "item 2.*text"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "item 2.*'a'"),
        ({"text": "x"}, "must be a list"),
        (7, "must be a list"),
        (Path("nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_an_input_that_cannot_be_used_opens_nothing(client: Headrace, source: Any, said: str) -> None:
    before = [batch.id for batch in client.batches(limit=1)]
    with pytest.raises(InputError, match=said):
        client.extract(source, model=MODEL)
    assert [batch.id for batch in client.batches(limit=1)] == before


@pytest.mark.parametrize(
    "words", [{"window_s": -1}, {"window_s": "a"}, {"limit": "a"}, {"sample": 0}, {"encoding": "klingon"}]
)
def test_a_wrong_word_of_extract_is_named(client: Headrace, words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(words))):
        client.extract(["x"], model=MODEL, **words)


def test_results_are_saved_to_a_file_in_a_folder_that_is_there(client: Headrace, tmp_path: Path) -> None:
    batch = client.extract(["x"], model=MODEL)
    batch.wait(30)
    for path in (tmp_path, tmp_path / "nowhere" / "rows.csv"):
        with pytest.raises(InputError, match="folder"):
            batch.save(path)


def test_a_batch_that_is_not_there_is_unknown(client: Headrace) -> None:
    lost = client.batch("batch_" + "a" * 26)
    for ask in (lost.progress, lost.wait, lambda: list(lost.results()), lost.cancel, lost.retry):
        with pytest.raises(Unknown):
            ask()


def test_a_wait_for_a_batch_ends_in_time(client: Headrace) -> None:
    batch = client.extract(["[[rehearsal latency=9000]] x"], model=MODEL)
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="goes on"):
        batch.wait(0.2)
    assert time.monotonic() - began < 8, "not the nine seconds of the call"
    batch.cancel()
    assert batch.wait(30).state == "cancelled"
    assert [row.error.code for row in batch.results() if row.error] == ["batch_cancelled"]
