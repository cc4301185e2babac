"""Jobs from Python, sync and async, against the whole service: typed answers, waits, cancellations, one idempotency key."""

from __future__ import annotations

import asyncio
import dataclasses
import multiprocessing
import os
import threading
from collections import Counter
from datetime import datetime
from typing import Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel
from stack import Stack, until

from headrace import AsyncHeadrace, Headrace
from headrace.errors import (
    Expired,
    Finished,
    JobFailed,
    Unknown,
    WaitTimeout,
)
from headrace.settings import Settings

BOTH_WAYS = True
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


def settings(stack: Stack) -> Settings:
    return Settings(files=stack.ready["files"])


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


def test_many_jobs_at_once_all_end(client: Headrace, stack: Stack) -> None:
    jobs = client.submit_many(MODEL, [f"Number {n}." for n in range(700)], system="Be short.", schema=Review)
    assert len({job.id for job in jobs}) == 700
    assert all(isinstance(job.result(60), Review) for job in jobs)
    paid = Counter((call.request_id or "").split(".")[0] for call in stack.calls())
    assert all(paid[job.id] == 1 for job in jobs)


def test_jobs_are_listed_newest_first(client: Headrace) -> None:
    jobs = [client.submit(MODEL, f"List me {n}.") for n in range(3)]
    for job in jobs:
        job.result(30)
    listed = client.jobs(limit=3)
    assert {job.id for job in listed} == {job.id for job in jobs}
    assert all(job.state == "succeeded" and job.ended_ms and job.attempts == 1 for job in listed)


async def test_the_async_client_waits_for_many_at_once_on_few_connections(stack: Stack) -> None:
    async with AsyncHeadrace(stack.ready["redis"], settings=settings(stack)) as client:
        before = {row["id"] for row in await client.ledger.client.client_list()}
        jobs = await client.submit_many(MODEL, [f"[[rehearsal latency=200]] {n}" for n in range(100)])
        answers = await asyncio.gather(*(job.result(60) for job in jobs))
        assert len(answers) == 100
        listed = await client.ledger.client.client_list()
        new = [row for row in listed if row["id"] not in before and row["name"] == ""]
        mine = [row for row in new if row["cmd"] in {"subscribe", "unsubscribe"}]
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
