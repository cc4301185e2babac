"""Seal: no row is added any more, and the join is queued. It waits for what runs, and it notices expiry."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.open import open_batch
from headrace.ledger.pause import pause
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal


async def finish_both(ledger: Ledger, batch: str, take: Any) -> None:
    for number in range(2):
        attempt = await take(f"{batch}.s{number}")
        await checkpoint(
            ledger, attempt.record_id, attempt.epoch, [CheckpointRow(0, "s", b"a"), CheckpointRow(1, "s", b"b")]
        )
        await finish_shard(ledger, attempt.record_id, attempt.epoch, f"part{number}")


async def test_a_batch_whose_shards_are_done_gets_its_join(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    await finish_both(ledger, batch, take)
    assert await seal(ledger, batch, queue="bulk") == "bulk"
    assert (await look.state(batch), await look.field(batch, "outcome")) == ("finalizing", "completed")
    join = await look.record(f"{batch}.join")
    assert (join["kind"], join["state"], join["queue"]) == ("join", "queued", "bulk")
    assert await look.due() == {f"{batch}.join"}
    assert await ledger.client.zrange(ledger.keys.open, 0, -1) == []
    assert b'"state":"finalizing"' in (await look.log(batch))[-1][1]


async def test_sent_twice_there_is_one_join_and_it_is_not_disturbed(
    ledger: Ledger, look: Any, batch: str, join: Any
) -> None:
    before = await look.everything()
    assert await seal(ledger, batch, queue="bulk") == "bulk"
    assert await look.everything() == before
    assert await look.state(join.record_id) == "running"


async def test_seal_waits_for_shards_without_a_part(ledger: Ledger, look: Any, batch: str) -> None:
    with pytest.raises(errors.Busy) as busy:
        await seal(ledger, batch, queue="bulk")
    assert busy.value.detail == "2"
    assert await look.state(batch) == "in_progress"


async def test_a_cancelled_batch_waits_for_what_still_runs(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await cancel(ledger, batch)
    with pytest.raises(errors.Busy, match=r"\(1\)"):
        await seal(ledger, batch, queue="bulk")
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"paid")])
    await release(ledger, shard.record_id, shard.epoch, calls="")
    await seal(ledger, batch, queue="bulk")
    assert (await look.state(batch), await look.field(batch, "outcome")) == ("finalizing", "cancelled")


async def test_a_batch_past_its_window_is_first_stopped_then_sealed(ledger: Ledger, look: Any) -> None:
    batch = new_id("batch")
    record = {"total": 2, "shards": 1}
    await open_batch(ledger, batch, template_sha="s", template=b"{}", window_ms=0, tenant="default", record=record)
    with pytest.raises(errors.Busy):
        await seal(ledger, batch, queue="bulk")
    assert (await look.state(batch), await look.field(batch, "outcome")) == ("cancelling", "expired")
    assert "window" in await look.field(batch, "reason")
    await seal(ledger, batch, queue="bulk")
    assert (await look.state(batch), await look.field(batch, "outcome")) == ("finalizing", "expired")


async def test_a_paused_batch_does_not_expire(ledger: Ledger, look: Any, batch: str) -> None:
    await pause(ledger, batch, reason="no room")
    await ledger.client.hset(ledger.keys.batch(batch), "expires", 1)
    with pytest.raises(errors.Busy):
        await seal(ledger, batch, queue="bulk")
    assert await look.state(batch) == "paused"


async def test_a_batch_finished_in_time_does_not_expire_before_its_seal(
    ledger: Ledger, look: Any, batch: str, take: Any
) -> None:
    await finish_both(ledger, batch, take)
    await ledger.client.hset(ledger.keys.batch(batch), "expires", 0)
    await seal(ledger, batch, queue="bulk")
    assert await look.field(batch, "outcome") == "completed"


async def test_a_batch_that_is_not_there_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(errors.Unknown):
        await seal(ledger, new_id("batch"), queue="bulk")
