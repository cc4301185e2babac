"""Reserve: what calls can cost is set aside of every budget that holds, in one script, before any of them begins."""

from __future__ import annotations

import pytest

from headrace.errors import Fenced
from headrace.jobs.job import new_id
from headrace.ledger.batch_record import batch_record
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import Claimed, claim
from headrace.ledger.feed import feed
from headrace.ledger.finish import finish
from headrace.ledger.open import open_batch
from headrace.ledger.park import park
from headrace.ledger.recover import report_end
from headrace.ledger.reserve import reserve
from headrace.ledger.script import Ledger
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

LONG = 10**9


async def shard_of(ledger: Ledger, budget: int | None) -> Claimed:
    batch = new_id("batch")
    await open_batch(
        ledger,
        batch,
        template_sha="s",
        template=b"{}",
        window_ms=LONG,
        tenant="default",
        record={"total": 2, "shards": 1, "tenant": "default"},
    )
    if budget is not None:
        await set_batch_budget(ledger, batch, budget)
    await feed(ledger, batch, 0, [ShardRange(0, 2, 0, 1)], queue="bulk")
    return await claim(ledger, f"{batch}.s0", token="t", owner="w", queue="bulk", lease_ms=LONG)


async def job_of(ledger: Ledger) -> Claimed:
    job = await submit(ledger, new_id("job"), b"{}", queue="bulk")
    return await claim(ledger, job, token="t", owner="w", queue="bulk", lease_ms=LONG)


def bill(claimed: Claimed, *, settled: int = 0, cost: int = 0, unaccounted: int = 0) -> str:
    return f"{claimed.epoch} {settled} {cost} {unaccounted} {int(unaccounted > 0)} 0 1 2 3 0 0"


async def money(ledger: Ledger, claimed: Claimed) -> tuple[int, int, int]:
    """What its batch has spent, what nobody knows of, and what is reserved."""
    record = await batch_record(ledger, claimed.record_id.partition(".")[0])
    return tuple(record.counter(f"{name}_nano_usd") for name in ("cost", "unaccounted", "reserved"))  # pyright: ignore[reportReturnType]


async def test_grants_what_fits_and_gives_back_what_was_not_needed(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 100)
    assert shard.is_budgeted
    assert not shard.allows_unpriced
    granted = await reserve(ledger, shard.record_id, shard.epoch, [40, 40, 40], token="a")
    assert (granted.count, granted.outcome, granted.scope) == (2, "wait", "batch")
    assert await reserve(ledger, shard.record_id, shard.epoch, [40, 40, 40], token="a") == granted
    assert await money(ledger, shard) == (0, 0, 80)
    row = CheckpointRow(0, "s", b"{}")
    for _ in range(2):
        await checkpoint(ledger, shard.record_id, shard.epoch, [row], bill=bill(shard, settled=40, cost=15))
    assert await money(ledger, shard) == (15, 0, 40)
    again = await reserve(ledger, shard.record_id, shard.epoch, [40, 6], token="b")
    assert (again.count, again.outcome) == (1, "wait")
    assert await money(ledger, shard) == (15, 0, 80)


async def test_a_call_that_cannot_fit_pauses_its_batch_and_says_what_is_left(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 1_500_000_000)
    refused = await reserve(ledger, shard.record_id, shard.epoch, [2_000_000_012], token="a")
    assert (refused.count, refused.outcome, refused.scope, refused.limit) == (0, "exhausted", "batch", 1_500_000_000)
    record = await batch_record(ledger, shard.record_id.partition(".")[0])
    assert record.is_paused
    assert "2.000000012 USD" in record.reason
    assert "1.50 USD" in record.reason
    assert await set_batch_budget(ledger, record.id, 3_000_000_000)


async def test_a_crash_leaves_its_reserve_spent(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 100)
    await reserve(ledger, shard.record_id, shard.epoch, [40, 30], token="a")
    await report_end(ledger, "w")
    assert await money(ledger, shard) == (0, 70, 0)


async def test_who_tells_late_what_was_given_up_is_not_counted_twice(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 100)
    assert (await reserve(ledger, shard.record_id, shard.epoch, [30, 30], token="a")).count == 2
    await report_end(ledger, "w")
    assert await money(ledger, shard) == (0, 60, 0)
    row = CheckpointRow(0, "s", b"row", {})
    await checkpoint(ledger, shard.record_id, shard.epoch, [row], bill=bill(shard, settled=30, cost=20))
    assert await money(ledger, shard) == (20, 30, 0), "the other call is still one of which nobody knows"


async def test_budgets_of_tenant_and_day_hold_for_jobs_and_batches_together(ledger: Ledger) -> None:
    await set_tenant_budget(ledger, "default", 100, of_day=False)
    await set_tenant_budget(ledger, "default", 50, of_day=True, allow_unpriced=True)
    job, shard = await job_of(ledger), await shard_of(ledger, None)
    assert job.is_budgeted
    assert job.allows_unpriced
    assert (await reserve(ledger, job.record_id, job.epoch, [30], token="a")).outcome == "granted"
    waits = await reserve(ledger, shard.record_id, shard.epoch, [30], token="a")
    assert (waits.outcome, waits.scope) == ("wait", "day")
    await finish(
        ledger, job.record_id, job.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}",
        bill=bill(job, settled=30, cost=30),
    )  # fmt: skip
    exhausted = await reserve(ledger, shard.record_id, shard.epoch, [30], token="b")
    assert (exhausted.outcome, exhausted.scope) == ("exhausted", "day")
    assert not (await batch_record(ledger, shard.record_id.partition(".")[0])).is_paused
    await set_tenant_budget(ledger, "default", None, of_day=True)
    assert (await reserve(ledger, shard.record_id, shard.epoch, [30], token="c")).outcome == "granted"


async def test_what_is_reserved_and_not_called_is_given_back_with_the_next_move(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 100)
    await reserve(ledger, shard.record_id, shard.epoch, [40], token="a")
    await park(ledger, shard.record_id, shard.epoch, delay_ms=0, calls="", reason="r", bill=bill(shard, settled=40))
    assert await money(ledger, shard) == (0, 0, 0)


async def test_without_a_budget_nothing_is_asked_for(ledger: Ledger) -> None:
    assert not (await job_of(ledger)).is_budgeted
    assert not (await shard_of(ledger, None)).is_budgeted


async def test_a_stale_attempt_reserves_nothing(ledger: Ledger) -> None:
    shard = await shard_of(ledger, 100)
    with pytest.raises(Fenced):
        await reserve(ledger, shard.record_id, shard.epoch - 1, [1], token="a")
