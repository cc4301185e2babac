"""Cancel: what waits ends at once, what runs is told, a batch stops claiming; doing it twice is no error."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.close import close
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.state import JobState


async def test_a_job_that_waits_ends_at_once(ledger: Ledger, look: Any, job: str) -> None:
    assert await cancel(ledger, job) == "cancelled"
    record = await look.record(job)
    assert (record["state"], record["code"]) == ("cancelled", "cancelled")
    assert "body" not in record
    log = await look.log(job)
    assert [number for number, _ in log] == [f"{record['epoch']}-1", f"{record['epoch']}-2"]
    assert log[-1][1] == b'{"t":"end","status":"cancelled"}'
    assert b'"code":"cancelled"' in await ledger.client.get(f"{ledger.keys.job(job)}:result")
    assert (await look.due(), await look.leased()) == (set(), set())


async def test_a_parked_job_ends_at_once_and_its_worker_is_fenced(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await park(ledger, job, attempt.epoch, delay_ms=10**9, calls="", reason="rate_limited")
    assert await cancel(ledger, job) == "cancelled"
    assert await look.due() == set()
    with pytest.raises(errors.Fenced):
        await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")


async def test_a_running_job_is_told_and_ends_by_its_worker(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    assert await cancel(ledger, job, reason="enough") == "running"
    assert (await look.state(job), await look.field(job, "cancel")) == ("running", "enough")
    assert await finish(ledger, job, attempt.epoch, JobState.CANCELLED, seq=2, event=b"{}", result=b"{}")
    assert await cancel(ledger, job) == "cancelled"


async def test_a_running_job_whose_worker_is_lost_ends_by_recover(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    await take(job, lease_ms=-1)
    await cancel(ledger, job)
    assert await recover(ledger) == []
    assert await look.state(job) == "cancelled"
    assert (await look.log(job))[-1][1] == b'{"t":"end","status":"cancelled"}'


async def test_sent_twice_it_is_cancelled_once(ledger: Ledger, look: Any, job: str) -> None:
    await cancel(ledger, job)
    before = await look.everything()
    assert await cancel(ledger, job) == "cancelled"
    assert await look.everything() == before


async def test_refuses_an_ended_job_with_its_state(ledger: Ledger, job: str, attempt: Any) -> None:
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(errors.Finished) as finished:
        await cancel(ledger, job)
    assert finished.value.detail == "failed"


async def test_refuses_unknown_records(ledger: Ledger) -> None:
    for subject in (new_id("job"), new_id("batch")):
        with pytest.raises(errors.Unknown):
            await cancel(ledger, subject)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_batch_stops_and_says_so_in_its_log(ledger: Ledger, look: Any, batch: str, paused: bool) -> None:
    if paused:
        await pause(ledger, batch, reason="no room")
    assert await cancel(ledger, batch, reason="enough") == "cancelling"
    record = await look.record(batch)
    assert (record["state"], record["outcome"], record["reason"]) == ("cancelling", "cancelled", "enough")
    assert b'"t":"batch.state","state":"cancelling"' in (await look.log(batch))[-1][1]
    before = await look.everything()
    assert await cancel(ledger, batch) == "cancelling"
    assert await look.everything() == before


async def test_a_cancelled_batch_stays_cancelled_while_it_is_joined(ledger: Ledger, batch: str, take: Any) -> None:
    await cancel(ledger, batch)
    await seal(ledger, batch, queue="bulk")
    assert await cancel(ledger, batch) == "finalizing"
    join = await take(f"{batch}.join")
    left = [f"{batch}.s0", f"{batch}.s1"]
    await close(ledger, batch, join.epoch, output="out", errors="err", unfinished=4, left=left)
    assert await cancel(ledger, batch) == "cancelled"


async def test_a_batch_that_completes_cannot_be_cancelled(ledger: Ledger, batch: str, join: Any) -> None:
    with pytest.raises(errors.Finished, match="finalizing"):
        await cancel(ledger, batch)
