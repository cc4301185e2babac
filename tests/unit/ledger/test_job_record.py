"""What is read of a job: its state, its times, its body and result, what a retry takes over, and what hints are numbered by."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.jobs.job import new_id
from headrace.ledger.finish import finish
from headrace.ledger.job_record import (
    JobStatus,
    RetryableJob,
    job_body,
    job_end,
    job_result,
    job_state,
    job_status,
    retryable_job,
    stands_since,
)
from headrace.ledger.queued_record import HintCounts, company, hint_counts
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

NONE = new_id("job")


async def test_a_job_that_waits(ledger: Ledger, look: Any) -> None:
    job = await submit(ledger, new_id("job"), b"what is asked", queue="bulk", ttl_ms=5_000, timeout_ms=60_000)
    created_ms = int(await look.field(job, "created"))
    assert await job_state(ledger, job) == "queued"
    assert await job_status(ledger, job) == JobStatus(JobState.QUEUED, 0, created_ms, None, "", "")
    assert await job_body(ledger, job) == b"what is asked"
    assert await job_result(ledger, job) is None
    assert await job_end(ledger, job) == (None, None)
    assert await stands_since(ledger, job) == (JobState.QUEUED, created_ms)
    assert await retryable_job(ledger, job) == RetryableJob("queued", "bulk", 5_000, 60_000, None)


async def test_a_job_that_runs_stands_since_its_lease_ended(ledger: Ledger, look: Any, attempt: Any) -> None:
    job = attempt.record_id
    assert await stands_since(ledger, job) == (JobState.RUNNING, int(await look.field(job, "lease")))
    assert (await job_status(ledger, job)).attempts == 1  # type: ignore[union-attr]


async def test_a_job_that_has_ended(ledger: Ledger, look: Any, attempt: Any) -> None:
    job, body = attempt.record_id, attempt.body
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b'{"t":"end"}', result=b"why")
    status = await job_status(ledger, job)
    assert status is not None
    assert await job_end(ledger, job) == (status.ended_ms, b"why")
    assert (status.state, status.ended_ms) == (JobState.FAILED, int(await look.field(job, "ended")))
    assert await job_result(ledger, job) == b"why"
    assert await job_body(ledger, job) is None
    assert await stands_since(ledger, job) is None
    retryable = await retryable_job(ledger, job)
    assert retryable is not None
    assert (retryable.state, retryable.body) == ("failed", body)


async def test_a_job_that_is_not_there(ledger: Ledger) -> None:
    for read in (job_state, job_status, job_body, job_result, stands_since, retryable_job):
        assert await read(ledger, NONE) is None


@pytest.mark.parametrize("field", ["state", "n", "created", "ended"])
async def test_a_damaged_field_is_no_number_or_no_state(ledger: Ledger, job: str, field: str) -> None:
    await ledger.client.hset(ledger.keys.job(job), field, b"\xff")
    with pytest.raises(ValueError, match=r".+"):
        await job_status(ledger, job)
    await ledger.client.delete(ledger.keys.job(job))


async def test_hints_are_counted_by_the_record_and_not_where_there_is_none(ledger: Ledger, job: str) -> None:
    damaged, shard = new_id("job"), f"{new_id('batch')}.s0"
    await ledger.client.set(ledger.keys.job(damaged), "no hash")
    await ledger.client.hset(ledger.keys.shard(shard), mapping={"n": 2, "hints": 3})
    counts = await hint_counts(ledger, [job, shard, NONE, damaged])
    assert counts == [HintCounts(0, 1), HintCounts(2, 3), None, None]
    await ledger.client.delete(ledger.keys.job(damaged), ledger.keys.shard(shard))


@pytest.mark.parametrize(("stored", "expected"), [("7", 7), ("", 1), ("x", 1), ("-3", 1), (None, 1)])
async def test_a_suspect_without_a_company_is_alone(
    ledger: Ledger, job: str, stored: str | None, expected: int
) -> None:
    if stored is not None:
        await ledger.client.hset(ledger.keys.job(job), "company", stored)
    assert await company(ledger, job) == expected
