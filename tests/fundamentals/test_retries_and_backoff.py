"""What may pass is tried again, by the worker alone, within a budget of five calls; what will not change is told at once.

Neither the transport nor Celery retries. A wait of more than two seconds *parks* the job: it holds no slot and no lease, and the
calls that it has had stay in its record. A `Retry-After` is obeyed. A job that ended without an answer can be submitted again.
"""

from __future__ import annotations

import pytest
from stack import Stack

from headrace import Headrace, JobFailed
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.due import due
from headrace.ledger.park import park
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit

MODEL = "rehearsal/small"


def test_retries_transient_failures(client: Headrace, stack: Stack) -> None:
    """The provider fails twice, then it answers. Each call has a number, so that its account tells them apart."""
    job = client.submit(MODEL, "[[rehearsal fault=500 times=2]] Why is the sky blue?")
    assert job.result(60)
    calls = stack.calls_of(job.id)
    assert [(call.status, call.job_and_call) for call in calls] == [
        (500, (job.id, 1)),
        (500, (job.id, 2)),
        (200, (job.id, 3)),
    ]


def test_fails_at_once_on_a_permanent_error_and_can_be_retried_by_hand(client: Headrace, stack: Stack) -> None:
    job = client.submit(MODEL, "[[rehearsal fault=400]] Why is the sky blue?")
    with pytest.raises(JobFailed) as failed:
        job.result(30)
    assert failed.value.code == "invalid_request"
    assert len(stack.calls_of(job.id)) == 1
    again = job.retry()
    assert again.id != job.id
    with pytest.raises(JobFailed):
        again.result(30)


def test_a_retry_after_is_obeyed(client: Headrace, stack: Stack) -> None:
    job = client.submit(MODEL, "[[rehearsal fault=429 retry_after=1 times=1]] Why is the sky blue?")
    assert job.result(60)
    refused, answered = stack.calls_of(job.id)
    assert answered.received_at - refused.received_at >= 1


async def test_a_long_wait_needs_no_worker(ledger: Ledger) -> None:
    """The provider says `Retry-After: 60`. The job is parked: it holds no slot, and it is no crash."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    await park(ledger, job, attempt.epoch, delay_ms=60_000, calls="1:0", reason="rate_limited")
    assert await due(ledger) == []

    await ledger.client.zadd(ledger.keys.due, {job: 0})  # a minute later
    assert await due(ledger) == [("interactive", job)]

    # The calls made so far came along, so the budget of calls outlives the wait.
    again = await claim(ledger, job, token="b", owner="worker-2", queue="interactive")
    assert again.record["calls"] == b"1:0"
    assert again.integer("crashes") == 0
