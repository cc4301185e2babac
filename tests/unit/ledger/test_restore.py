"""Restore: whoever holds an attempt writes its record again after the server lost it, under the same ids."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.append import append
from headrace.ledger.compact import compact
from headrace.ledger.finish import finish
from headrace.ledger.restore import restore
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

LONG = 10**9


async def lose(ledger: Ledger, job: str) -> None:
    """The server comes back from an old copy: the job is not in it."""
    await ledger.client.delete(ledger.keys.job(job), f"{ledger.keys.job(job)}:log")
    await ledger.client.zrem(ledger.keys.leases, job)
    await ledger.client.zrem(ledger.keys.jobs("default"), job)


async def test_the_record_and_the_log_are_as_before(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await append(ledger, job, attempt.epoch, 2, [b'{"t":"text.delta"}'])
    before = await look.everything()
    events = [event for _, event in await look.log(job)]
    await lose(ledger, job)
    assert await restore(ledger, job, attempt.epoch, attempt.record, events, lease_ms=LONG) == 2
    assert await look.everything() == before


async def test_the_attempt_goes_on(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    events = [event for _, event in await look.log(job)]
    await lose(ledger, job)
    with pytest.raises(errors.Unknown):
        await append(ledger, job, attempt.epoch, 2, [b"{}"])
    await restore(ledger, job, attempt.epoch, attempt.record, events, lease_ms=LONG)
    await append(ledger, job, attempt.epoch, 2, [b"{}"])
    assert await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=3, event=b"{}", result=b"{}")


async def test_sent_twice_it_is_written_once_and_keeps_what_came_since(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    events = [event for _, event in await look.log(job)]
    await lose(ledger, job)
    await restore(ledger, job, attempt.epoch, attempt.record, events, lease_ms=LONG)
    await append(ledger, job, attempt.epoch, 2, [b"{}"])
    before = await look.everything()
    assert await restore(ledger, job, attempt.epoch, attempt.record, events, lease_ms=LONG) == 2
    assert await look.everything() == before


async def test_an_older_copy_of_the_record_gives_way(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    """The old copy still has the job queued, from before the claim."""
    events = [event for _, event in await look.log(job)]
    await lose(ledger, job)
    await ledger.client.hset(ledger.keys.job(job), mapping={"kind": "job", "state": "queued", "epoch": 0, "n": 0})
    await restore(ledger, job, attempt.epoch, attempt.record, events, lease_ms=LONG)
    assert (await look.state(job), await look.field(job, "epoch")) == ("running", str(attempt.epoch))


async def test_a_zombie_cannot_restore(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await restore(ledger, zombie.record_id, zombie.epoch, zombie.record, [b"{}"])
    assert await look.everything() == before


async def test_the_newest_attempt_wins_over_a_zombie_that_was_quicker(
    ledger: Ledger, look: Any, take: Any, zombie: Any
) -> None:
    """While the record is lost nobody can refuse the zombie; the one who holds the newer attempt takes the job back."""
    job = zombie.record_id
    newer = await take(job, token="t2", owner="w2")
    await lose(ledger, job)
    await restore(ledger, job, zombie.epoch, zombie.record, [b'{"t":"attempt.start"}'], lease_ms=LONG)
    await append(ledger, job, zombie.epoch, 2, [b'{"t":"text.delta","d":"BOO"}'])
    with pytest.raises(errors.Unknown):
        await append(ledger, job, newer.epoch, 2, [b'{"t":"text.delta"}'])
    events = [b'{"t":"attempt.start"}', b'{"t":"text.delta"}']
    assert await restore(ledger, job, newer.epoch, newer.record, events, lease_ms=LONG) == 2
    assert [event for _, event in await look.log(job)] == events
    with pytest.raises(errors.Fenced):
        await append(ledger, job, zombie.epoch, 3, [b'{"t":"text.delta","d":"BOO"}'])
    with pytest.raises(errors.Fenced):
        await restore(ledger, job, zombie.epoch, zombie.record, [], lease_ms=LONG)


async def test_refuses_to_restore_a_job_that_a_zombie_finished(
    ledger: Ledger, look: Any, take: Any, zombie: Any
) -> None:
    job = zombie.record_id
    newer = await take(job, token="t2", owner="w2")
    await lose(ledger, job)
    await restore(ledger, job, zombie.epoch, zombie.record, [b'{"t":"attempt.start"}'], lease_ms=LONG)
    await finish(ledger, job, zombie.epoch, JobState.SUCCEEDED, seq=2, event=b'{"t":"end"}', result=b"{}")
    before = await look.everything()
    with pytest.raises(errors.Closed):
        await restore(ledger, job, newer.epoch, newer.record, [b'{"t":"attempt.start"}'], lease_ms=LONG)
    assert await look.everything() == before


async def test_epoch_0_restores_nothing(ledger: Ledger, look: Any, job: str) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await restore(ledger, job, 0, {"state": b"queued"}, [])
    assert await look.everything() == before


async def test_after_a_compaction_the_log_begins_with_the_snapshot(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await append(ledger, job, attempt.epoch, 2, [b'{"t":"text.delta"}'] * 3)
    await compact(ledger, job, attempt.epoch, 5, b'{"t":"snapshot"}')
    before = await look.everything()
    await lose(ledger, job)
    restored = restore(ledger, job, attempt.epoch, attempt.record, [b'{"t":"snapshot"}'], first_seq=5, lease_ms=LONG)
    assert await restored == 5
    assert await look.everything() == before
