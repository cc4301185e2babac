"""Restart: the same worker begins anew; the old epoch is fenced, and so is a repeated call that comes too late."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.restart import restart
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState


async def test_a_restart_fences_its_own_past_and_clears_the_log(ledger: Ledger, look: Any, attempt: Any) -> None:
    job = attempt.record_id
    await append(ledger, job, attempt.epoch, 2, [b'{"t":"text.delta"}'])
    fresh = await restart(ledger, job, attempt.epoch, token="r1", reason="retry")
    assert fresh > attempt.epoch
    start = b'{"t":"attempt.start","n":2,"reset":true,"reason":"retry"}'
    assert await look.log(job) == [(f"{fresh}-1", start)]
    assert (await look.state(job), await look.leased()) == ("running", {job})
    with pytest.raises(errors.Fenced):
        await append(ledger, job, attempt.epoch, 3, [b"{}"])


async def test_the_same_token_gets_the_same_epoch(ledger: Ledger, look: Any, attempt: Any) -> None:
    fresh = await restart(ledger, attempt.record_id, attempt.epoch, token="r1", reason="retry")
    before = await look.everything()
    assert await restart(ledger, attempt.record_id, attempt.epoch, token="r1", reason="retry") == fresh
    assert await look.everything() == before


async def test_a_repeated_call_never_learns_the_epoch_of_another_worker(
    ledger: Ledger, job: str, look: Any, take: Any
) -> None:
    """The reply to a restart was lost, the lease ran out, another began: the repetition must not hand out its fence."""
    attempt = await take(job, lease_ms=-1)
    await restart(ledger, job, attempt.epoch, token="r1", reason="retry")
    await recover(ledger)
    other = await take(job, token="t2", owner="w2")
    with pytest.raises(errors.Fenced):
        await restart(ledger, job, attempt.epoch, token="r1", reason="retry")
    assert await look.field(job, "epoch") == str(other.epoch)


async def test_a_zombie_cannot_restart(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await restart(ledger, zombie.record_id, zombie.epoch, token="r1", reason="retry")
    assert await look.everything() == before


async def test_refuses_unclaimed_unknown_and_ended_jobs(ledger: Ledger, job: str, take: Any) -> None:
    with pytest.raises(errors.Fenced):
        await restart(ledger, job, 0, token="r1", reason="retry")
    with pytest.raises(errors.Unknown):
        await restart(ledger, new_id("job"), 1, token="r1", reason="retry")
    attempt = await take(job)
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(errors.Closed, match="failed"):
        await restart(ledger, job, attempt.epoch, token="r1", reason="retry")
