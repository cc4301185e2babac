"""Show: after a part of an attempt was shown to somebody who cannot take it back, no other attempt follows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.cancel import cancel
from headrace.ledger.due import due
from headrace.ledger.expire import expire
from headrace.ledger.finish import finish
from headrace.ledger.job_record import job_result
from headrace.ledger.park import park
from headrace.ledger.recover import recover
from headrace.ledger.restart import restart
from headrace.ledger.script import Ledger
from headrace.ledger.show import show
from headrace.ledger.state import JobState

EXPIRED = -1
DELTA = b'{"t":"text.delta","c":0,"p":0,"d":"a"}'


@pytest.fixture
async def shown(ledger: Ledger, job: str, take: Any) -> Any:
    """An attempt whose worker is gone, and of which a delta was shown."""
    attempt = await take(job, lease_ms=EXPIRED)
    await append(ledger, job, attempt.epoch, 2, [DELTA])
    await show(ledger, job, attempt.epoch)
    return attempt


async def test_the_same_worker_cannot_begin_anew(ledger: Ledger, look: Any, shown: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Shown):
        await restart(ledger, shown.record_id, shown.epoch, token="r1", reason="retry")
    assert await look.everything() == before


async def test_another_worker_only_ends_it(ledger: Ledger, look: Any, shown: Any, take: Any) -> None:
    job = shown.record_id
    await recover(ledger)
    for _ in range(2):
        with pytest.raises(errors.Finished, match="failed"):
            await take(job, token="t2", owner="w2")
    assert await look.state(job) == "failed"
    assert (await look.due(), await look.leased()) == (set(), set())
    (_, start), (_, delta), (last, end) = await look.log(job)
    assert last == f"{shown.epoch}-3", "what was shown stays, and the end follows it"
    assert delta == DELTA
    assert b'"attempt.start","n":1' in start
    assert b'"status":"failed","error":{"code":"incomplete_stream"' in end
    assert b"incomplete_stream" in (await job_result(ledger, job) or b"")


async def test_a_cancelled_one_ends_so(ledger: Ledger, look: Any, shown: Any, take: Any) -> None:
    job = shown.record_id
    await recover(ledger)
    await cancel(ledger, job)
    assert [number for number, _ in await look.log(job)] == [f"{shown.epoch}-{n}" for n in (1, 2, 3)]
    with pytest.raises(errors.Cancelled):
        await take(job, token="t2")


async def test_one_past_its_deadline_ends_so(ledger: Ledger, look: Any, shown: Any) -> None:
    job = shown.record_id
    await recover(ledger)
    await ledger.client.hset(ledger.keys.job(job), "expires", 0)
    assert await expire(ledger, job)
    assert [number for number, _ in await look.log(job)] == [f"{shown.epoch}-{n}" for n in (1, 2, 3)]


async def test_its_own_worker_may_still_end_it(ledger: Ledger, look: Any, shown: Any) -> None:
    job = shown.record_id
    await recover(ledger)
    await finish(ledger, job, shown.epoch, JobState.SUCCEEDED, seq=3, event=b"{}", result=b"{}")
    assert await look.state(job) == "succeeded"


async def test_what_has_ended_stays_as_it_is(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    first = await take(job)
    await finish(ledger, job, first.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    before = await look.everything()
    await show(ledger, job, first.epoch)
    assert await look.everything() == before


async def test_a_newer_attempt_is_another(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    first = await take(job)
    await park(ledger, job, first.epoch, delay_ms=0, calls="", reason="rate_limited")
    await look.hurry()
    await due(ledger)
    second = await take(job, token="t2")
    with pytest.raises(errors.Fenced, match=str(second.epoch)):
        await show(ledger, job, first.epoch)
    assert await restart(ledger, job, second.epoch, token="r", reason="retry") > second.epoch


async def test_an_unknown_job_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(errors.Unknown):
        await show(ledger, new_id("job"), 1)
