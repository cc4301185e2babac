"""The ledger, read as a tutorial: one job, from submission to its result, and what happens when things go wrong.

A *job* is one completion asked for. Its record in the ledger is the truth; a Celery message is only a *hint* that says
"look at this id". Every change of the record is a *move*: one Lua script, atomic, and safe to send twice.
"""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.beat import beat
from headrace.ledger.claim import claim
from headrace.ledger.due import due
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.recover import recover, report_end
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

END = b'{"t":"end","status":"succeeded"}'


async def test_a_jobs_life(ledger: Ledger) -> None:
    """A job is submitted, claimed, streamed and finished; its log then tells the whole story, in order."""
    job = await submit(ledger, new_id("job"), b'{"v":1,"model":"rehearsal/small"}', queue="interactive")

    # A worker got the hint. Its claim begins an attempt; the epoch goes with every later write.
    attempt = await claim(ledger, job, token="of this hint", owner="worker-1", queue="interactive")
    assert attempt.record["body"] == b'{"v":1,"model":"rehearsal/small"}'

    # The provider streams; every chunk is a numbered event. Number 1 was the start of the attempt.
    await append(ledger, job, attempt.epoch, 2, [b'{"t":"text.delta","d":"Good "}', b'{"t":"text.delta","d":"day"}'])

    # The last event, the result and the counters are one move: nobody can see one without the others.
    first = await finish(
        ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=4, event=END, result=b'"Good day"', counters={"jobs": 1}
    )
    assert first

    log = await ledger.client.xrange(f"{ledger.keys.job(job)}:log")
    assert [number.decode() for number, _ in log] == [f"{attempt.epoch}-{n}" for n in (1, 2, 3, 4)]
    assert log[-1][1][b"d"] == END
    assert await ledger.client.get(f"{ledger.keys.job(job)}:result") == b'"Good day"'


async def test_a_lost_reply_and_a_second_hint(ledger: Ledger) -> None:
    """The same move sent again changes nothing; the same hint read by another worker finds the job busy."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")

    # The reply was lost on its way, so the client repeats itself: it is the same attempt.
    again = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    assert again.epoch == attempt.epoch

    # Celery delivered the hint twice. The second reader drops it: nothing is paid twice.
    with pytest.raises(errors.Busy):
        await claim(ledger, job, token="b", owner="worker-2", queue="interactive")


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


async def test_who_kills_its_worker_dies_alone(ledger: Ledger) -> None:
    """A job that was alone when its worker died runs in quarantine. After three deaths alone it is dead."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await claim(ledger, job, token="a", owner="worker-1", queue="interactive", lease_ms=-1)
    assert await recover(ledger) == [("quarantine", job)]

    # The quarantine's worker sees its child process end, and says so: nobody waits for a lease.
    for token in "bcd":
        await claim(ledger, job, token=token, owner="quarantine/1", queue="quarantine")
        hints = await report_end(ledger, "quarantine/1")
    assert hints == []
    assert await ledger.client.hget(ledger.keys.job(job), "state") == b"dead"


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


async def test_a_wait_without_a_worker(ledger: Ledger) -> None:
    """The provider says `Retry-After: 60`. The job is parked: it holds no slot, and it is no crash."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    await park(ledger, job, attempt.epoch, delay_ms=60_000, calls="1:0", reason="rate_limited")
    assert await due(ledger) == []

    await ledger.client.zadd(ledger.keys.due, {job: 0})  # a minute later
    assert await due(ledger) == [("interactive", job)]

    # The calls made so far came along, so the budget of calls outlives the wait.
    again = await claim(ledger, job, token="b", owner="worker-2", queue="interactive")
    assert again.record["calls"] == b"1:0"
    assert again.integer("crashes") == 0
