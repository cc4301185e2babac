"""A cancellation is a word in the record, not a message that could get lost.

A job that waits ends at once. A worker learns of it with its next beat, half a second later at most, or with its next write: it
closes the call and ends the record. Of a batch nothing more is claimed, and what was paid is kept.
"""

from __future__ import annotations

import pytest
from small_batch import counters, opened, state

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.close import close
from headrace.ledger.finish import finish
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit


async def test_a_job_that_waits_is_cancelled_at_once(ledger: Ledger) -> None:
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    assert await cancel(ledger, job) == "cancelled"
    assert await cancel(ledger, job) == "cancelled"  # twice is no error
    with pytest.raises(errors.Cancelled):  # the hint is still on its way
        await claim(ledger, job, token="a", owner="worker-1", queue="interactive")


async def test_the_beat_tells_the_worker_of_a_running_job(ledger: Ledger) -> None:
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    assert await cancel(ledger, job) == "running"
    assert await beat(ledger, {job: attempt.epoch}) == {job: "CANCELLED"}

    # The worker closes the call, and ends the record with what had come.
    event = b'{"t":"end","status":"cancelled"}'
    await finish(ledger, job, attempt.epoch, JobState.CANCELLED, seq=2, event=event, result=b'{"code":"cancelled"}')
    assert await cancel(ledger, job) == "cancelled"


async def test_a_cancelled_batch_keeps_what_was_paid(ledger: Ledger) -> None:
    """Cancelling claims nothing more, waits for what runs, and still ends with every item in one of the two files."""
    batch = await opened(ledger)
    shard = await claim(ledger, f"{batch}.s0", token="a", owner="worker-1", queue="bulk")
    await cancel(ledger, batch)
    with pytest.raises(errors.Busy):
        await seal(ledger, batch, queue="bulk")

    # The worker learns of it with its next checkpoint, stores what is paid, and releases the shard.
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"paid")]) == "cancelling"
    await release(ledger, shard.record_id, shard.epoch, calls="")
    await seal(ledger, batch, queue="bulk")

    # After the seal nothing is added any more: the join reads the rows now.
    with pytest.raises(errors.Closed):
        await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "s", b"too late")])

    join = await claim(ledger, f"{batch}.join", token="b", owner="worker-2", queue="bulk")
    await close(
        ledger, batch, join.epoch, output="output.jsonl", errors="errors.jsonl", unfinished=1, left=[shard.record_id]
    )
    assert await state(ledger, batch) == "cancelled"
    assert await counters(ledger, batch, "succeeded", "cancelled", "total") == [1, 1, 2]
