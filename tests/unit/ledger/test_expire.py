"""Expire: a job that waits past its deadline ends, failed; one that runs is its worker's to end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import errors
from headrace.chat.completion import Outcome
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.cancel import cancel
from headrace.ledger.claim import claim
from headrace.ledger.due import EXPIRED, due
from headrace.ledger.expire import expire
from headrace.ledger.park import park
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit

LONG = 10**9


async def over(ledger: Ledger, job: str) -> None:
    await ledger.client.hset(ledger.keys.job(job), "expires", 1)


async def test_a_queued_job_ends_failed(ledger: Ledger, look: Any, job: str) -> None:
    await over(ledger, job)
    assert await expire(ledger, job)
    record = await look.record(job)
    assert (record["state"], record["code"]) == ("failed", "expired")
    assert "body" not in record
    outcome = msgspec.json.decode(await ledger.client.get(f"{ledger.keys.job(job)}:result"), type=Outcome)
    assert outcome.error is not None
    assert outcome.error.code == "expired"
    first, last = (msgspec.json.decode(event) for _, event in await look.log(job))
    assert first["t"] == "attempt.start"
    assert (last["t"], last["status"], last["error"]["code"]) == ("end", "failed", "expired")
    assert await look.due() == set()


async def test_a_parked_job_ends_failed_and_its_last_attempt_is_fenced(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await park(ledger, job, attempt.epoch, delay_ms=LONG, calls="9:0", reason="rate_limited")
    await over(ledger, job)
    assert await expire(ledger, job)
    assert await look.state(job) == "failed"
    with pytest.raises(errors.Fenced):
        await append(ledger, job, attempt.epoch, 2, [b"{}"])


async def test_sent_twice_it_ends_once(ledger: Ledger, look: Any, job: str) -> None:
    await over(ledger, job)
    assert await expire(ledger, job)
    before = await look.everything()
    assert not await expire(ledger, job)
    assert await look.everything() == before


async def test_a_job_that_runs_has_time_or_has_ended_is_left_alone(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    with pytest.raises(errors.Busy):
        await expire(ledger, job)
    await take(job)
    await over(ledger, job)
    with pytest.raises(errors.Busy):
        await expire(ledger, job)
    assert await look.state(job) == "running"
    other = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await cancel(ledger, other)
    await over(ledger, other)
    with pytest.raises(errors.Finished):
        await expire(ledger, other)
    with pytest.raises(errors.Unknown):
        await expire(ledger, new_id("job"))


async def test_due_tells_of_it_and_does_not_publish_it(ledger: Ledger, look: Any, job: str) -> None:
    await over(ledger, job)
    await look.hurry()
    assert await due(ledger) == [(EXPIRED, job)]
    assert await due(ledger) == [], "once a second"
    assert await look.state(job) == "queued"


async def test_nobody_waits_longer_than_the_deadline(ledger: Ledger, look: Any) -> None:
    """However long it is parked, and however rarely its hint is repeated."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive", timeout_ms=2_000)
    expires = float(await look.field(job, "expires"))
    assert await ledger.client.zscore(ledger.keys.due, job) == expires
    await look.hurry()
    await due(ledger)
    assert await ledger.client.zscore(ledger.keys.due, job) == expires
    attempt = await claim(ledger, job, token="t", owner="w", queue="interactive")
    await park(ledger, job, attempt.epoch, delay_ms=LONG, calls="", reason="rate_limited")
    assert await ledger.client.zscore(ledger.keys.due, job) == expires
