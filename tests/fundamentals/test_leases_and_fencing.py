"""A claim takes a *lease*, and yields an *epoch*: who may work, and who may write.

A worker renews its leases every half second (the *beat*). One that falls silent loses them, and its jobs are queued again. It may
not be dead, only frozen: then it wakes and writes on. The epoch is the fence: once a newer attempt has begun, every write
of an older one is refused by name.
"""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.beat import beat
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

END = b'{"t":"end","status":"succeeded"}'


async def test_a_crash_and_its_recovery(ledger: Ledger) -> None:
    """A worker that falls silent loses its leases, and its jobs are queued again for another."""
    lost = [await submit(ledger, new_id("job"), b"{}", queue="interactive") for _ in range(3)]
    alive = await submit(ledger, new_id("job"), b"{}", queue="interactive")

    # All leases are over at once; only one of the workers still beats.
    for job in lost:
        await claim(ledger, job, token="a", owner="worker-1", queue="interactive", lease_ms=-1)
    other = await claim(ledger, alive, token="b", owner="worker-2", queue="interactive", lease_ms=-1)
    assert await beat(ledger, {alive: other.epoch}) == {}

    # The leader sweeps: what it gets back are hints to publish.
    assert sorted(await recover(ledger)) == sorted(("interactive", job) for job in lost)

    second = await claim(ledger, lost[0], token="c", owner="worker-2", queue="interactive")
    assert second.integer("evidence") == 333_333  # one of three; from a half on it runs in the quarantine


async def test_a_zombie_cannot_write(ledger: Ledger) -> None:
    """A worker that was frozen, not dead, wakes up: its epoch is old, and every write of it is refused by name."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    frozen = await claim(ledger, job, token="a", owner="worker-1", queue="interactive", lease_ms=-1)
    ((queue, _),) = await recover(ledger)

    # As long as nobody else began, the frozen worker may still finish it. But now somebody has:
    healthy = await claim(ledger, job, token="b", owner="worker-2", queue=queue)
    assert healthy.epoch > frozen.epoch

    with pytest.raises(errors.Fenced):
        await append(ledger, job, frozen.epoch, 2, [b'{"t":"text.delta","d":"too late"}'])
    with pytest.raises(errors.Fenced):
        await finish(ledger, job, frozen.epoch, JobState.SUCCEEDED, seq=2, event=END, result=b'"too late"')
    assert await beat(ledger, {job: frozen.epoch}) == {job: "FENCED"}

    assert await finish(ledger, job, healthy.epoch, JobState.SUCCEEDED, seq=2, event=END, result=b'"in time"')
    assert await ledger.client.get(f"{ledger.keys.job(job)}:result") == b'"in time"'
