"""Failures that are no item's: counted over the whole batch, which stands still after twenty of one kind without a success."""

from __future__ import annotations

from typing import Any

from headrace.ledger.checkpoint import MAX_STREAK, CheckpointRow, Failing, checkpoint, is_settled
from headrace.ledger.park import park
from headrace.ledger.resume import resume
from headrace.ledger.script import Ledger


def failing(count: int, code: str = "auth") -> Failing:
    return Failing(code, count, f'{code}: "no"')


async def test_twenty_pause_the_batch_and_nothing_is_written(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    for count in (7, MAX_STREAK - 1):
        state = await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(count))
        assert state == "in_progress"
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(MAX_STREAK)) == "paused"
    record = await look.record(batch)
    assert (record["state"], record["reason"], record["failed"]) == ("paused", 'auth: "no"', "0")
    event = (await look.log(batch))[-1][1]
    assert b'"t":"batch.state","state":"paused"' in event
    assert b'"reason":"auth: \\"no\\""' in event


async def test_failures_of_all_workers_count_together(ledger: Ledger, batch: str, take: Any, shard: Any) -> None:
    other = await take(f"{batch}.s1", token="t2", owner="w2")
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(12)) == "in_progress"
    assert await checkpoint(ledger, other.record_id, other.epoch, [], failing=failing(8)) == "paused"


async def test_sent_twice_they_count_once(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    for _ in range(3):
        await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(12))
    assert await look.field(batch, "streak") == "12"


async def test_a_new_attempt_counts_from_its_own_beginning(
    ledger: Ledger, look: Any, batch: str, take: Any, shard: Any
) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(12))
    await park(ledger, shard.record_id, shard.epoch, delay_ms=0, calls="", reason="rate_limited")
    await ledger.client.hset(ledger.keys.shard(shard.record_id), "state", "queued")
    again = await take(shard.record_id, token="t2")
    await checkpoint(ledger, shard.record_id, again.epoch, [], failing=failing(3))
    assert await look.field(batch, "streak") == "15"


async def test_a_success_or_another_failure_begins_anew(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(12))
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(14, "not_found"))
    assert (await look.field(batch, "failing"), await look.field(batch, "streak")) == ("not_found", "2")
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "f", b"x")])
    assert await look.field(batch, "streak") == "2", "a failure of an item says nothing"
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "s", b"x")])
    assert await look.field(batch, "streak") is None


async def test_after_resume_it_counts_from_zero(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(MAX_STREAK))
    await resume(ledger, batch)
    assert await look.field(batch, "streak") is None
    more = failing(MAX_STREAK + 5)
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=more) == "in_progress"


async def test_when_they_are_the_items_own(ledger: Ledger, shard: Any) -> None:
    assert await is_settled(ledger, shard.record_id), "nobody failed"
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(1))
    assert not await is_settled(ledger, shard.record_id), "three of four may still show what it is"
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "f", b"x")])
    assert not await is_settled(ledger, shard.record_id)
    await checkpoint(ledger, shard.record_id, shard.epoch, [], failing=failing(3))
    assert await is_settled(ledger, shard.record_id), "none is left that could"
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "s", b"x")])
    assert await is_settled(ledger, shard.record_id)


async def test_a_batch_shows_the_reason_that_it_waits_for(
    ledger: Ledger, look: Any, batch: str, take: Any, shard: Any
) -> None:
    reason = "rate_limited: openai says wait 1 s"
    other = await take(f"{batch}.s1", token="t2")
    for attempt in (shard, other):
        await park(ledger, attempt.record_id, attempt.epoch, delay_ms=0, calls="", reason=reason)
    assert await look.field(batch, "waiting") == reason
    told = [event for _, event in await look.log(batch) if b"waiting" in event]
    assert len(told) == 1, "the second one says nothing new"
    assert b'"waiting":"rate_limited: openai says wait 1 s"' in told[0]
    await ledger.client.hset(ledger.keys.shard(shard.record_id), "state", "queued")
    again = await take(shard.record_id, token="t3")
    await checkpoint(ledger, shard.record_id, again.epoch, [CheckpointRow(0, "f", b"x")])
    assert await look.field(batch, "waiting") == reason
    await checkpoint(ledger, shard.record_id, again.epoch, [CheckpointRow(1, "s", b"x")])
    assert await look.field(batch, "waiting") is None
