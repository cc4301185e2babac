"""A job that failed, died or was cancelled is submitted again: from the shell, from Python and over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest
from gateways import ask
from stack import Stack

from headrace import Headrace
from headrace.errors import Expired, InputError, JobFailed, Unknown

MODEL = "rehearsal/small"


def failed(client: Headrace) -> str:
    job = client.submit(MODEL, "Never. [[rehearsal fault=400]]")
    with pytest.raises(JobFailed):
        job.result(30)
    return job.id


def test_a_failed_job_is_found_and_retried_from_the_shell(stack: Stack, client: Headrace) -> None:
    job = failed(client)
    listed = [json.loads(line) for line in stack.run("jobs", "list", "--state", "failed", "--json").stdout.splitlines()]
    assert job in [each["id"] for each in listed]
    assert stack.run("jobs", "list", "--state", "dead").stdout.count("job_") == 0
    done = stack.run("jobs", "retry", job)
    assert done.returncode == 0, done.stderr
    new = done.stdout.strip()
    assert new != job
    assert json.loads(stack.run("jobs", "show", new).stdout)["retry_of"] == job


def test_a_job_retried_twice_is_one_until_that_has_failed_too(client: Headrace) -> None:
    job = client.submit(MODEL, "Slowly. [[rehearsal latency=60000]]")
    job.cancel()
    with pytest.raises(JobFailed):
        job.result(30)
    first = job.retry()
    assert job.retry().id == first.id
    first.cancel()
    with pytest.raises(JobFailed):
        first.result(30)
    second = job.retry()
    assert second.id not in (job.id, first.id)
    second.cancel()


def test_a_retried_job_asks_what_the_first_one_asked(client: Headrace) -> None:
    job = client.submit(MODEL, "What is blue? [[rehearsal latency=60000]]", system="Be brief.")
    job.cancel()
    with pytest.raises(JobFailed):
        job.result(30)
    ledger = client.call(lambda found: asyncio.sleep(0, found.ledger))
    new = job.retry()
    kept = client.call(lambda _: ledger.client.get(f"{ledger.keys.job(job.id)}:body"))
    assert client.call(lambda _: ledger.client.hget(ledger.keys.job(new.id), "body")) == kept
    new.cancel()


def test_refuses_to_retry_jobs_that_succeeded_run_or_expired(stack: Stack, client: Headrace) -> None:
    done = client.submit(MODEL, "Fine.")
    done.result(30)
    with pytest.raises(InputError, match="has succeeded"):
        done.retry()
    slow = client.submit(MODEL, "Slowly. [[rehearsal latency=60000]]")
    with pytest.raises(InputError, match="cancel it first"):
        slow.retry()
    slow.cancel()
    with pytest.raises(Unknown, match="never submitted"):
        client.job("job_" + "a" * 26).retry()
    old = failed(client)
    with stack.client as redis:
        assert 0 < redis.pttl(f"{{hr}}:job:{old}:body") <= 3_600_000
        redis.delete(f"{{hr}}:job:{old}:body")
    with pytest.raises(Expired, match="past its lifetime"):
        client.job(old).retry()
    assert stack.run("jobs", "retry", "batch_x").returncode == 2
    assert stack.run("jobs", "list", "--state", "sleeping").returncode == 2


def test_over_http_it_is_a_new_job(stack: Stack, client: Headrace) -> None:
    base, job = stack.ready["gateway"], failed(client)
    answer = ask(f"{base}/v1/jobs/{job}/retry", "POST")
    assert (answer.status, answer.json["retry_of"]) == (202, job)
    assert ask(answer.json["urls"]["result"]).status == 200
    assert ask(f"{base}/v1/jobs/job_{'a' * 26}/retry", "POST").status == 404
