"""Shorten: the result, the log and the body of a job that has ended may go earlier than they were to."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.shorten import shorten, shorten_many
from headrace.ledger.state import JobState


async def lifetimes(ledger: Ledger, job: str) -> list[int]:
    key = ledger.keys.job(job)
    names = [ledger.keys.log(key), ledger.keys.body(key), ledger.keys.result(key), key]
    return [await ledger.client.pttl(name) for name in names]


async def test_an_ended_job_keeps_its_record_alone(ledger: Ledger, attempt: Any) -> None:
    job = attempt.record_id
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")
    *_, record = await lifetimes(ledger, job)
    await shorten(ledger, job, ttl_ms=5000)
    *content, after = await lifetimes(ledger, job)
    assert all(0 < left <= 5000 for left in content)
    assert record - 5000 < after <= record
    await shorten(ledger, job, ttl_ms=10**6)
    assert all(0 < left <= 5000 for left in (await lifetimes(ledger, job))[:3]), "never longer"


async def test_one_that_runs_does_so_from_its_end_on(ledger: Ledger, attempt: Any) -> None:
    job = attempt.record_id
    await shorten(ledger, job, ttl_ms=5000)
    assert await lifetimes(ledger, job) == [-1, -2, -2, -1]
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    log, body, result, _ = await lifetimes(ledger, job)
    assert 0 < log <= 5000
    assert 0 < result <= 5000
    assert body == -2


async def test_many_at_once(ledger: Ledger, attempt: Any) -> None:
    job = attempt.record_id
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    await shorten_many(ledger, [new_id("job"), job], ttl_ms=5000)
    assert 0 < (await lifetimes(ledger, job))[2] <= 5000


async def test_an_unknown_job_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(errors.Unknown):
        await shorten(ledger, new_id("job"), ttl_ms=1)
