"""Finish: the last event, the result and the counters, once; a paid answer comes home late, a zombie's does not."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.finish import TOMBSTONE_MS, finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

END = b'{"t":"end","status":"succeeded"}'


async def succeed(ledger: Ledger, job: str, epoch: int, *, seq: int = 2) -> bool:
    return await finish(
        ledger,
        job,
        epoch,
        JobState.SUCCEEDED,
        seq=seq,
        event=END,
        result=b"42",
        counters={"cost_nano_usd": 7, "jobs": 1},
    )


async def test_the_end_the_result_and_the_counters_come_together(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    assert await succeed(ledger, job, attempt.epoch)
    record = await look.record(job)
    assert record["state"] == "succeeded"
    assert not {"body", "lease", "token", "owner"} & set(record)
    assert (await look.log(job))[-1] == (f"{attempt.epoch}-2", END)
    assert await ledger.client.get(f"{ledger.keys.job(job)}:result") == b"42"
    assert await ledger.client.hgetall(ledger.keys.spend("default")) == {b"cost_nano_usd": b"7", b"jobs": b"1"}
    assert (await look.due(), await look.leased()) == (set(), set())


async def test_everything_that_ended_has_a_lifetime(ledger: Ledger, job: str, attempt: Any) -> None:
    await succeed(ledger, job, attempt.epoch)
    key = ledger.keys.job(job)
    assert 0 < await ledger.client.pttl(f"{key}:result") <= 3600_000
    assert 0 < await ledger.client.pttl(f"{key}:log") <= 3600_000
    assert 3600_000 < await ledger.client.pttl(key) <= TOMBSTONE_MS


async def test_sent_twice_it_is_counted_once(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    assert await succeed(ledger, job, attempt.epoch)
    before = await look.everything()
    assert not await succeed(ledger, job, attempt.epoch)
    assert await look.everything() == before


async def test_a_job_ends_one_way_only(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await succeed(ledger, job, attempt.epoch)
    with pytest.raises(errors.Closed, match="succeeded"):
        await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=3, event=b"{}", result=b"{}", code="timeout")
    assert await look.state(job) == "succeeded"


async def test_a_paid_answer_comes_home_after_the_lease(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    attempt = await take(job, lease_ms=-1)
    await recover(ledger)
    assert await succeed(ledger, job, attempt.epoch)
    assert (await look.state(job), await look.due()) == ("succeeded", set())
    with pytest.raises(errors.Finished):
        await take(job, token="t2")


async def test_a_zombie_cannot_finish(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await succeed(ledger, zombie.record_id, zombie.epoch)
    assert await look.everything() == before


async def test_events_that_are_missing_before_the_end_are_asked_for(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    with pytest.raises(errors.Gap) as gap:
        await succeed(ledger, job, attempt.epoch, seq=3)
    assert gap.value.detail == "2"
    assert await look.state(job) == "running"
    await append(ledger, job, attempt.epoch, 2, [b"{}"])
    assert await succeed(ledger, job, attempt.epoch, seq=3)


async def test_refuses_unclaimed_and_unknown_jobs(ledger: Ledger, look: Any, job: str) -> None:
    with pytest.raises(errors.Fenced):
        await succeed(ledger, job, 0)
    with pytest.raises(errors.Unknown):
        await succeed(ledger, new_id("job"), 1)
    assert await look.state(job) == "queued"


async def test_only_a_terminal_state_is_an_end(ledger: Ledger, job: str, attempt: Any) -> None:
    with pytest.raises(ValueError, match="not a terminal state"):
        await finish(ledger, job, attempt.epoch, JobState.PARKED, seq=2, event=b"{}", result=b"{}")


EVENTS = [b'{"t":"route"}', b'{"t":"text"}']


async def finish_after(ledger: Ledger, job: str, epoch: int, events: list[bytes], *, seq: int) -> bool:
    return await finish(
        ledger,
        job,
        epoch,
        JobState.SUCCEEDED,
        seq=seq,
        before=events,
        event=END,
        result=b"42",
        counters={"jobs": 1},
    )


async def test_events_before_the_end_are_written_with_it(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    assert await finish_after(ledger, job, attempt.epoch, EVENTS, seq=4)
    numbered = [(f"{attempt.epoch}-{number}", event) for number, event in enumerate([*EVENTS, END], 2)]
    assert (await look.log(job))[1:] == numbered
    assert await ledger.client.hgetall(ledger.keys.spend("default")) == {b"jobs": b"1"}
    before = await look.everything()
    assert not await finish_after(ledger, job, attempt.epoch, EVENTS, seq=4)
    assert await look.everything() == before


async def test_events_that_are_stored_already_are_not_written_twice(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await append(ledger, job, attempt.epoch, 2, EVENTS[:1])
    assert await finish_after(ledger, job, attempt.epoch, EVENTS, seq=4)
    assert [event for _, event in (await look.log(job))[1:]] == [*EVENTS, END]


async def test_nothing_is_written_after_a_gap(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Gap) as gap:
        await finish_after(ledger, job, attempt.epoch, EVENTS, seq=5)
    assert gap.value.detail == "2"
    assert await look.everything() == before
