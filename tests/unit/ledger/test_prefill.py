"""Prefill: rows that an earlier batch paid for are set before the rest runs; nothing of them is paid again."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_rows import rows_of

OLD = [(1, b"Sold/output 0 9")]


async def test_a_prefilled_row_is_done_but_not_paid(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    assert await prefill(ledger, shard.record_id, shard.epoch, OLD) == 1
    assert await rows_of(ledger, shard.record_id) == dict(OLD)
    record = await look.record(batch)
    assert [record[name] for name in ("succeeded", "prefilled", "output_tokens")] == ["1", "1", "0"]
    assert await look.held() == len(OLD[0][1]) == int(await look.field(shard.record_id, "bytes"))


async def test_sent_twice_a_row_is_set_once(ledger: Ledger, look: Any, shard: Any) -> None:
    await prefill(ledger, shard.record_id, shard.epoch, OLD)
    before = await look.everything()
    assert await prefill(ledger, shard.record_id, shard.epoch, OLD) == 0
    assert await look.everything() == before


async def test_a_row_that_is_there_stays(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "f", b"mine")])
    assert await prefill(ledger, shard.record_id, shard.epoch, OLD) == 0
    assert await rows_of(ledger, shard.record_id) == {1: b"fmine"}
    assert await look.field(batch, "prefilled") == "0"


async def test_prefill_is_no_progress_that_excuses_a_crash(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    attempt = await take(f"{batch}.s0", lease_ms=-1)
    await prefill(ledger, attempt.record_id, attempt.epoch, OLD)
    await recover(ledger)
    assert await look.field(attempt.record_id, "queue") == "quarantine"


async def test_a_zombie_cannot_prefill(ledger: Ledger, look: Any, zombie_shard: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await prefill(ledger, zombie_shard.record_id, zombie_shard.epoch, OLD)
    assert await look.everything() == before


async def test_refuses_unclaimed_and_unknown_shards(ledger: Ledger, batch: str) -> None:
    with pytest.raises(errors.Fenced):
        await prefill(ledger, f"{batch}.s0", 0, OLD)
    with pytest.raises(errors.Unknown):
        await prefill(ledger, f"{batch}.s7", 1, OLD)


async def test_a_sealed_batch_takes_no_row(ledger: Ledger, batch: str, take: Any) -> None:
    """The join reads the rows now: one that came in behind it would be counted, and be in no file."""
    attempt = await take(f"{batch}.s0", lease_ms=-1)
    await recover(ledger)
    await cancel(ledger, batch)
    await seal(ledger, batch, queue="bulk")
    with pytest.raises(errors.Closed, match="finalizing"):
        await prefill(ledger, attempt.record_id, attempt.epoch, OLD)
    assert await rows_of(ledger, attempt.record_id) == {}
