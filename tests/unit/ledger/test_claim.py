"""Claim: one attempt at a time, begun under a larger epoch; everything that must not begin is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.recover import recover
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

EXPIRED = -1


async def test_a_claim_moves_the_job_from_the_queue_to_a_lease(look: Any, job: str, take: Any) -> None:
    attempt = await take(job)
    assert attempt.epoch > 10**12
    assert attempt.record["body"] == b'{"v":1}'
    assert (await look.state(job), await look.field(job, "owner")) == ("running", "w1")
    assert (await look.due(), await look.leased()) == (set(), {job})
    start = b'{"t":"attempt.start","n":1,"reset":false,"reason":"claim"}'
    assert await look.log(job) == [(f"{attempt.epoch}-1", start)]


async def test_the_same_token_gets_the_same_attempt(look: Any, attempt: Any, take: Any) -> None:
    before = await look.everything()
    again = await take(attempt.record_id)
    assert again.epoch == attempt.epoch
    assert await look.everything() == before


async def test_a_second_copy_of_a_hint_finds_the_record_busy(look: Any, attempt: Any, take: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Busy) as busy:
        await take(attempt.record_id, token="t2")
    assert 0 < int(busy.value.detail) <= 10**9
    assert await look.everything() == before


async def test_a_lease_that_ran_out_is_busy_until_recover_counts_the_crash(look: Any, job: str, take: Any) -> None:
    await take(job, lease_ms=EXPIRED)
    with pytest.raises(errors.Busy, match=r"\(0\)"):
        await take(job, token="t2")
    assert await look.field(job, "crashes") == "0"


async def test_the_next_attempt_has_a_larger_epoch_and_resets_the_log(ledger: Ledger, look: Any, zombie: Any) -> None:
    job, epoch = zombie.record_id, int(await look.field(zombie.record_id, "epoch"))
    assert epoch > zombie.epoch
    start = b'{"t":"attempt.start","n":2,"reset":true,"reason":"crash"}'
    assert await look.log(job) == [(f"{epoch}-1", start)]


async def test_the_reason_is_a_crash_only_right_after_one(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await take(job, lease_ms=EXPIRED)
    await recover(ledger)
    second = await take(job, token="t2")
    await release(ledger, job, second.epoch, calls="")
    await take(job, token="t3")
    assert b'"n":3,"reset":true,"reason":"claim"' in (await look.log(job))[0][1]


async def test_epochs_grow_though_the_clock_stands_still(ledger: Ledger, job: str, take: Any) -> None:
    await ledger.client.hset(ledger.keys.job(job), "epoch", 9 * 10**12)
    assert (await take(job)).epoch == 9 * 10**12 + 1


async def test_a_job_on_another_queue_or_parked_is_busy(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    with pytest.raises(errors.Busy):
        await claim(ledger, job, token="t", owner="w", queue="quarantine")
    assert await look.state(job) == "queued"
    attempt = await take(job)
    await park(ledger, job, attempt.epoch, delay_ms=0, calls="", reason="rate_limited")
    with pytest.raises(errors.Busy):
        await take(job, token="t2")


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (JobState.SUCCEEDED, errors.Finished),
        (JobState.FAILED, errors.Finished),
        (JobState.CANCELLED, errors.Cancelled),
        (JobState.DEAD, errors.Dead),
    ],
)
async def test_an_ended_job_says_how_it_ended(
    ledger: Ledger, attempt: Any, take: Any, state: JobState, refusal: type[Exception]
) -> None:
    await finish(ledger, attempt.record_id, attempt.epoch, state, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(refusal):
        await take(attempt.record_id)


async def test_an_unknown_job_and_an_unknown_shard_are_unknown(ledger: Ledger, batch: str) -> None:
    for record_id in (new_id("job"), f"{batch}.s7", f"{batch}.join"):
        with pytest.raises(errors.Unknown):
            await claim(ledger, record_id, token="t", owner="w", queue="bulk")


async def test_a_claimed_shard_counts_as_running_once(look: Any, batch: str, take: Any) -> None:
    attempt = await take(f"{batch}.s0")
    assert (await take(f"{batch}.s0")).epoch == attempt.epoch
    assert (attempt.integer("line"), attempt.integer("count")) == (0, 2)
    assert await look.field(batch, "running") == "1"
    assert await look.leased() == {f"{batch}.s0"}


async def test_a_shard_of_a_paused_batch_waits(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    await pause(ledger, batch, reason="no room")
    with pytest.raises(errors.Paused):
        await take(f"{batch}.s0")
    assert await look.field(batch, "running") == "0"


async def test_a_shard_of_a_cancelled_batch_is_cancelled(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    await cancel(ledger, batch)
    with pytest.raises(errors.Cancelled):
        await take(f"{batch}.s0")
    assert await look.field(batch, "running") == "0"


async def test_a_shard_with_a_committed_part_is_finished(ledger: Ledger, shard: Any, take: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"a"), CheckpointRow(1, "s", b"b")])
    await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    with pytest.raises(errors.Finished):
        await take(shard.record_id)
