"""What is read of a batch: its record, its counters, its open ones, its parts, rows and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import Damaged, Unknown
from headrace.jobs.job import new_id
from headrace.ledger.batch_list import forget_open_batch, open_batches
from headrace.ledger.batch_record import (
    BatchCounters,
    ShardPart,
    batch_counters,
    batch_field,
    batch_record,
    feeding_record,
    follow_up,
    known_batch,
    part_of_shard,
    parts_of_shards,
    state_if_refused,
    template_body,
)
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.row_refusals import refusal_reasons, refusal_reasons_of, refused_bits, refused_bits_between
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import part_file
from headrace.ledger.shard_rows import rows_in_order, rows_of

NONE = new_id("batch")
ROWS = [CheckpointRow(0, "s", b"paid"), CheckpointRow(1, "f", b"failed", {"code:timeout": 1})]


async def test_an_open_batch(ledger: Ledger, look: Any, batch: str) -> None:
    record, raw = await known_batch(ledger, batch), await look.record(batch)
    assert (record.state, record.created_ms, record.ended_ms) == ("in_progress", int(raw["created"]), None)
    assert (record.total, record.shards, record.fed) == (int(raw["total"]), int(raw["shards"]), int(raw["fed"]))
    assert record.shards_under_way == record.fed
    assert (record.reason, record.waiting, record.reasked_as, record.codes, record.refused) == ("", "", "", {}, 0)
    assert not record.is_paused
    assert await batch_field(ledger, batch, "state") == "in_progress"
    assert await open_batches(ledger, 0, 9) == [batch.encode()]
    feeding = await feeding_record(ledger, batch)
    assert feeding is not None
    assert (feeding.fed, feeding.shards) == (record.fed, record.shards)


async def test_a_batch_that_is_not_there(ledger: Ledger) -> None:
    assert (await batch_record(ledger, NONE)).fields == {}
    for read in (feeding_record, state_if_refused, follow_up):
        assert await read(ledger, NONE) is None
    assert await batch_field(ledger, NONE, "index") is None
    assert await template_body(ledger, "sha") is None
    assert await part_of_shard(ledger, NONE, 0) == ShardPart(None, None)
    assert await parts_of_shards(ledger, NONE) == {}
    assert await refused_bits(ledger, NONE) == b""
    assert await batch_counters(ledger, NONE) == BatchCounters(0, 0, 0, 0, 0)
    with pytest.raises(Unknown):
        await known_batch(ledger, NONE)


async def test_one_damaged_field_concerns_who_reads_it(ledger: Ledger, batch: str) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"total": "x", "waiting": b"\xff"})
    record = await batch_record(ledger, batch)
    assert record.state == "in_progress"
    with pytest.raises(ValueError, match="invalid literal"):
        _ = record.total
    with pytest.raises(KeyError):
        _ = record.outcome
    with pytest.raises(Damaged):
        await known_batch(ledger, batch)


async def test_counters_say_what_is_pending(ledger: Ledger, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS)
    counters = await batch_counters(ledger, batch)
    assert (counters.succeeded, counters.failed, counters.done) == (1, 1, 2)
    assert counters.pending == counters.total - 2
    assert (await known_batch(ledger, batch)).codes == {"timeout": 1}


async def test_rows_come_in_order_and_then_as_a_part(ledger: Ledger, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS[1:])
    assert await rows_in_order(ledger, shard.record_id, 0, 2) == []
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS)
    assert await rows_in_order(ledger, shard.record_id, 0, 2) == [b"spaid", b"ffailed"]
    assert await rows_in_order(ledger, shard.record_id, 1, 9) == [b"ffailed"]
    assert await rows_of(ledger, shard.record_id) == {0: b"spaid", 1: b"ffailed"}
    assert await part_of_shard(ledger, batch, 0) == ShardPart(None, "in_progress")
    await finish_shard(ledger, shard.record_id, shard.epoch, "77")
    assert await part_of_shard(ledger, batch, 0) == ShardPart(part_file(batch, 0, "77"), "in_progress")
    assert await parts_of_shards(ledger, batch) == {0: part_file(batch, 0, "77")}


async def test_refusals(ledger: Ledger, batch: str, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS)
    assert await state_if_refused(ledger, batch) is None
    await refuse_rows(ledger, batch, [(0, "too small")])
    assert await state_if_refused(ledger, batch) == "in_progress"
    assert await refused_bits(ledger, batch) == await refused_bits_between(ledger, batch, 0, 3) == b"\x80"
    assert await refusal_reasons(ledger, batch) == await refusal_reasons_of(ledger, batch, [0, 1]) == {0: "too small"}
    assert (await known_batch(ledger, batch)).refused == 1


async def test_a_follow_up_counts_when_it_is_there(ledger: Ledger, batch: str) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), "reasked_as", NONE)
    assert await follow_up(ledger, batch) is None
    await ledger.client.hset(ledger.keys.batch(batch), "reasked_as", batch)
    assert await follow_up(ledger, batch) == batch


async def test_an_open_batch_without_a_record_is_forgotten(ledger: Ledger) -> None:
    await ledger.client.zadd(ledger.keys.open, {NONE: 1})
    await forget_open_batch(ledger, NONE)
    assert await open_batches(ledger, 0, 9) == []
