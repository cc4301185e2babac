"""Checkpoint: a row is set once and never changes; the counters move by the new ones alone; too much is spilled."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import ALL_BYTES, SHARD_BYTES, CheckpointRow, checkpoint
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.pause import pause
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_rows import rows_of

EXPIRED, LONG = -1, 10**9
PAID = CheckpointRow(0, "s", b"paid", {"input_tokens": 5, "output_tokens": 2})


async def test_rows_become_durable_and_move_the_counters(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    rows = [PAID, CheckpointRow(1, "f", b"failed", {"input_tokens": 1})]
    assert await checkpoint(ledger, shard.record_id, shard.epoch, rows) == "in_progress"
    assert await rows_of(ledger, shard.record_id) == {0: b"spaid", 1: b"ffailed"}
    record = await look.record(batch)
    assert [record[name] for name in ("succeeded", "failed", "input_tokens", "output_tokens")] == ["1", "1", "6", "2"]
    assert await look.held() == len(b"spaid") + len(b"ffailed") == int(await look.field(shard.record_id, "bytes"))


async def test_sent_twice_a_row_counts_once(ledger: Ledger, look: Any, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    before = await look.everything()
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    assert await look.everything() == before


async def test_a_row_never_changes_and_only_what_is_new_beside_it_counts(
    ledger: Ledger, look: Any, batch: str, shard: Any
) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    rows = [CheckpointRow(0, "f", b"other", {"input_tokens": 100}), CheckpointRow(1, "c", b"new")]
    await checkpoint(ledger, shard.record_id, shard.epoch, rows)
    assert await rows_of(ledger, shard.record_id) == {0: b"spaid", 1: b"cnew"}
    record = await look.record(batch)
    assert [record[name] for name in ("succeeded", "failed", "cancelled", "input_tokens")] == ["1", "0", "1", "5"]


async def test_a_row_that_names_its_place_counts_by_its_kind(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await checkpoint(
        ledger,
        shard.record_id,
        shard.epoch,
        [CheckpointRow(0, "S", b"segment 0 9"), CheckpointRow(1, "D", b"segment 9 9")],
    )
    assert (await look.field(batch, "succeeded"), await look.field(batch, "dead")) == ("1", "1")


async def test_checkpoint_is_also_the_beat(ledger: Ledger, batch: str, take: Any) -> None:
    attempt = await take(f"{batch}.s0", lease_ms=EXPIRED)
    await checkpoint(ledger, attempt.record_id, attempt.epoch, [], lease_ms=LONG)
    assert await recover(ledger) == []


async def test_progress_is_reported_at_most_four_times_a_second(
    ledger: Ledger, look: Any, batch: str, shard: Any
) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    reports = len(await look.log(batch))
    await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    log = await look.log(batch)
    assert len(log) == reports + 1
    assert b'"t":"batch.progress","state":"in_progress"' in log[-1][1]
    assert b'"succeeded":1' in log[-1][1]


@pytest.mark.parametrize(("full", "limit"), [("held", ALL_BYTES), ("bytes", SHARD_BYTES)])
async def test_refuses_rows_beyond_the_limit_and_stores_nothing(
    ledger: Ledger, look: Any, batch: str, shard: Any, full: str, limit: int
) -> None:
    if full == "held":
        await ledger.client.set(ledger.keys.held, limit - 4)
    else:
        await ledger.client.hset(ledger.keys.shard(shard.record_id), "bytes", limit - 4)
    before = await look.everything()
    with pytest.raises(errors.Spill):
        await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    assert await look.everything() == before
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"abc")])
    assert await look.field(batch, "succeeded") == "1"


async def test_a_place_in_a_segment_file_always_fits(ledger: Ledger, shard: Any) -> None:
    """It is what a spilled row becomes: were it refused too, a full ledger could not go on."""
    await ledger.client.set(ledger.keys.held, ALL_BYTES)
    with pytest.raises(errors.Spill):
        await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "S", b"segment 0 4")])
    assert await rows_of(ledger, shard.record_id) == {0: b"Ssegment 0 4"}


async def test_accepts_a_repeated_row_at_the_limit(ledger: Ledger, look: Any, shard: Any) -> None:
    await ledger.client.set(ledger.keys.held, ALL_BYTES - len(PAID.stored))
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
    before = await look.everything()
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [PAID]) == "in_progress"
    assert await look.everything() == before


async def test_a_checkpoint_is_accepted_after_recover_as_long_as_nobody_else_began(
    ledger: Ledger, look: Any, batch: str, take: Any
) -> None:
    attempt = await take(f"{batch}.s0", lease_ms=EXPIRED)
    await recover(ledger)
    await checkpoint(ledger, attempt.record_id, attempt.epoch, [PAID])
    assert await rows_of(ledger, attempt.record_id) == {0: b"spaid"}
    assert await look.state(attempt.record_id) == "queued"
    assert attempt.record_id not in await look.leased()
    assert await look.field(batch, "running") == "0"


async def test_a_zombie_cannot_checkpoint(ledger: Ledger, look: Any, zombie_shard: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await checkpoint(ledger, zombie_shard.record_id, zombie_shard.epoch, [PAID])
    assert await look.everything() == before


async def test_checkpoint_brings_back_the_state_of_the_batch(ledger: Ledger, batch: str, shard: Any) -> None:
    await pause(ledger, batch, reason="no room")
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [PAID]) == "paused"
    await cancel(ledger, batch)
    assert await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "s", b"x")]) == "cancelling"


async def test_after_the_seal_it_is_too_late(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    attempt = await take(f"{batch}.s0", lease_ms=EXPIRED)
    await recover(ledger)
    await cancel(ledger, batch)
    await seal(ledger, batch, queue="bulk")
    with pytest.raises(errors.Closed, match="finalizing"):
        await checkpoint(ledger, attempt.record_id, attempt.epoch, [PAID])
    assert await rows_of(ledger, attempt.record_id) == {}
    assert await look.field(batch, "succeeded") == "0"


async def test_refuses_rows_of_unclaimed_and_finished_shards(ledger: Ledger, batch: str, shard: Any) -> None:
    with pytest.raises(errors.Fenced):
        await checkpoint(ledger, f"{batch}.s1", 0, [PAID])
    await checkpoint(ledger, shard.record_id, shard.epoch, [PAID, CheckpointRow(1, "s", b"x")])
    await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    with pytest.raises(errors.Unknown):
        await checkpoint(ledger, shard.record_id, shard.epoch, [PAID])
