"""Release: a record is handed back unharmed; a deploy does this, and it is no crash."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.cancel import cancel
from headrace.ledger.due import due
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState


async def test_a_released_job_is_queued_and_keeps_its_calls(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    assert await release(ledger, job, attempt.epoch, calls="2:0") == "interactive"
    record = await look.record(job)
    assert (record["state"], record["calls"], record["crashes"]) == ("queued", "2:0", "0")
    assert not {"lease", "token", "owner"} & set(record)
    assert (await look.due(), await look.leased()) == ({job}, set())


async def test_another_worker_begins_at_once(ledger: Ledger, look: Any, job: str, attempt: Any, take: Any) -> None:
    await release(ledger, job, attempt.epoch, calls="2:0")
    other = await take(job, token="t2", owner="w2")
    assert other.epoch > attempt.epoch
    assert (await look.log(job))[0][1] == b'{"t":"attempt.start","n":2,"reset":true,"reason":"claim"}'
    with pytest.raises(errors.Fenced):
        await release(ledger, job, attempt.epoch, calls="2:0")
    assert await look.state(job) == "running"


async def test_sent_twice_it_is_handed_back_once(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    assert await release(ledger, shard.record_id, shard.epoch, calls="") == "bulk"
    before = await look.everything()
    assert await release(ledger, shard.record_id, shard.epoch, calls="") == "bulk"
    assert await look.everything() == before
    assert await look.field(batch, "running") == "0"


async def test_until_another_begins_the_old_attempt_may_still_write(ledger: Ledger, job: str, attempt: Any) -> None:
    await release(ledger, job, attempt.epoch, calls="")
    assert await append(ledger, job, attempt.epoch, 2, [b"{}"]) == ""


async def test_a_zombie_cannot_release_a_shard_of_another(
    ledger: Ledger, look: Any, batch: str, zombie_shard: Any
) -> None:
    with pytest.raises(errors.Fenced):
        await release(ledger, zombie_shard.record_id, zombie_shard.epoch, calls="")
    assert await look.field(batch, "running") == "1"
    assert await look.state(zombie_shard.record_id) == "running"


async def test_refuses_unclaimed_unknown_and_ended_jobs(ledger: Ledger, job: str, take: Any) -> None:
    with pytest.raises(errors.Fenced):
        await release(ledger, job, 0, calls="")
    with pytest.raises(errors.Unknown):
        await release(ledger, new_id("job"), 1, calls="")
    attempt = await take(job)
    await finish(ledger, job, attempt.epoch, JobState.FAILED, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(errors.Closed):
        await release(ledger, job, attempt.epoch, calls="")


async def test_a_shard_that_is_proven_goes_home(ledger: Ledger, shard: Any) -> None:
    await ledger.client.hset(
        ledger.keys.shard(shard.record_id), mapping={"queue": "quarantine", "crashes": 1, "item": "3"}
    )
    assert await release(ledger, shard.record_id, shard.epoch, calls="", home=True) == "bulk"
    queue, crashes = await ledger.client.hmget(ledger.keys.shard(shard.record_id), "queue", "crashes")
    assert (queue, crashes) == (b"bulk", b"0")


async def test_a_job_cancelled_while_it_ran_does_not_wait(ledger: Ledger, job: str, attempt: Any) -> None:
    await cancel(ledger, job)
    await park(ledger, job, attempt.epoch, delay_ms=10**9, calls="", reason="rate_limited")
    assert ("interactive", job) in await due(ledger)
