"""Park: the slot is given up until a time; it is no crash, and the calls made so far are remembered."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.due import due
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

EXPIRED, LONG = -1, 10**9


async def test_a_parked_job_rests_without_a_lease(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await park(ledger, job, attempt.epoch, delay_ms=LONG, calls="3:1", reason="rate_limited")
    record = await look.record(job)
    assert (record["state"], record["calls"], record["reason"]) == ("parked", "3:1", "rate_limited")
    assert not {"lease", "token", "owner"} & set(record)
    assert (await look.due(), await look.leased()) == ({job}, set())
    assert await due(ledger) == []


async def test_when_its_time_has_come_it_is_queued_again(
    ledger: Ledger, look: Any, job: str, attempt: Any, take: Any
) -> None:
    await park(ledger, job, attempt.epoch, delay_ms=0, calls="3:1", reason="rate_limited")
    assert await due(ledger) == [("interactive", job)]
    again = await take(job, token="t2")
    assert again.record["calls"] == b"3:1"
    assert (await look.log(job))[0][1] == b'{"t":"attempt.start","n":2,"reset":true,"reason":"claim"}'


async def test_sent_twice_it_parks_once(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await park(ledger, shard.record_id, shard.epoch, delay_ms=LONG, calls="0=1", reason="rate_limited")
    before = await look.everything()
    await park(ledger, shard.record_id, shard.epoch, delay_ms=LONG, calls="0=1", reason="rate_limited")
    assert await look.everything() == before
    assert await look.field(batch, "running") == "0"


async def test_a_job_that_survives_quarantine_is_innocent(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await take(job, lease_ms=EXPIRED)
    await recover(ledger)
    assert await look.field(job, "queue") == "quarantine"
    alone = await take(job, token="c")
    await park(ledger, job, alone.epoch, delay_ms=0, calls="", reason="rate_limited")
    assert await due(ledger) == [("interactive", job)]
    assert [await look.field(job, name) for name in ("crashes", "evidence", "alone")] == ["0", "0", "0"]


async def test_a_shard_stays_in_quarantine(ledger: Ledger, batch: str, take: Any) -> None:
    shard_id = f"{batch}.s0"
    for token in "abc":
        await take(shard_id, token=token, lease_ms=EXPIRED)
        await recover(ledger)
    alone = await take(shard_id, token="d")
    await park(ledger, shard_id, alone.epoch, delay_ms=0, calls="", reason="rate_limited")
    assert await due(ledger) == [("quarantine", shard_id)]


async def test_a_zombie_cannot_park(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await park(ledger, zombie.record_id, zombie.epoch, delay_ms=0, calls="", reason="rate_limited")
    assert await look.everything() == before


async def test_refuses_unclaimed_unknown_and_ended_jobs(ledger: Ledger, job: str, take: Any) -> None:
    with pytest.raises(errors.Fenced):
        await park(ledger, job, 0, delay_ms=0, calls="", reason="x")
    with pytest.raises(errors.Unknown):
        await park(ledger, new_id("job"), 1, delay_ms=0, calls="", reason="x")
    attempt = await take(job)
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(errors.Closed):
        await park(ledger, job, attempt.epoch, delay_ms=0, calls="", reason="x")
