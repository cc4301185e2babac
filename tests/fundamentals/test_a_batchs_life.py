"""The ledger, read as a tutorial: one batch, from its opening to its two output files.

A *batch* is many jobs with one lifecycle. Its items have no records of their own: a *shard*, a run of consecutive items,
is what travels and is claimed. Rows lie in the ledger only until their shard's part is committed to a file.
"""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.close import close
from headrace.ledger.feed import feed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.open import open_batch
from headrace.ledger.recover import recover
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.shard_rows import rows_of


async def opened(ledger: Ledger) -> str:
    """A batch of one shard with two items, fed to the queue `bulk`."""
    batch = new_id("batch")
    await open_batch(
        ledger,
        batch,
        template_sha="sha",
        template=b'{"model":"rehearsal/small"}',
        window_ms=24 * 3600 * 1000,
        tenant="default",
        record={"total": 2, "shards": 1},
    )
    await feed(ledger, batch, 0, [ShardRange(line=0, count=2, offset=0, length=64)], queue="bulk")
    return batch


async def counters(ledger: Ledger, batch: str, *names: str) -> list[int]:
    return [int(value) for value in await ledger.client.hmget(ledger.keys.batch(batch), names)]


async def test_a_batchs_life(ledger: Ledger) -> None:
    """Open, feed, claim, checkpoint, finish the shard, seal, join, close."""
    batch = await opened(ledger)
    shard = await claim(ledger, f"{batch}.s0", token="a", owner="worker-1", queue="bulk")

    # Whatever is finished becomes durable at once, and moves the counters.
    await checkpoint(
        ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b'{"answer":42}', {"output_tokens": 7})]
    )
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(1, "f", b'{"error":"timeout"}')])
    assert await counters(ledger, batch, "succeeded", "failed", "output_tokens") == [1, 1, 7]

    # The part is committed to the file store under this name; the ledger forgets the rows.
    await finish_shard(ledger, shard.record_id, shard.epoch, "parts/s0.jsonl")
    assert await rows_of(ledger, shard.record_id) == {}

    # The join writes the output and the errors in input order. It is a claimed record like any other.
    queue = await seal(ledger, batch, queue="bulk")
    join = await claim(ledger, f"{batch}.join", token="b", owner="worker-2", queue=queue)
    assert await close(ledger, batch, join.epoch, output="output.jsonl", errors="errors.jsonl", unfinished=0, left=[])
    assert await ledger.client.hget(ledger.keys.batch(batch), "state") == b"completed"


async def test_a_crash_repeats_only_what_has_no_row(ledger: Ledger) -> None:
    """The worker of a shard dies after one of two items. The next one finds the first row, and pays the second."""
    batch = await opened(ledger)
    lost = await claim(ledger, f"{batch}.s0", token="a", owner="worker-1", queue="bulk")
    await checkpoint(ledger, lost.record_id, lost.epoch, [CheckpointRow(0, "s", b"paid")], lease_ms=-1)
    await recover(ledger)

    shard = await claim(ledger, f"{batch}.s0", token="b", owner="worker-2", queue="bulk")
    assert await rows_of(ledger, shard.record_id) == {0: b"spaid"}
    assert shard.integer("crashes") == 0  # it was making way, so the crash is not held against it

    # A row never changes, whoever writes it again, and it is counted once.
    rows = [CheckpointRow(0, "f", b"again"), CheckpointRow(1, "s", b"the second")]
    await checkpoint(ledger, shard.record_id, shard.epoch, rows)
    assert await rows_of(ledger, shard.record_id) == {0: b"spaid", 1: b"sthe second"}
    assert await counters(ledger, batch, "succeeded", "failed") == [2, 0]


async def test_a_cancelled_batch_keeps_what_was_paid(ledger: Ledger) -> None:
    """Cancelling claims nothing more, waits for what runs, and still ends with every item in one of the two files."""
    batch = await opened(ledger)
    shard = await claim(ledger, f"{batch}.s0", token="a", owner="worker-1", queue="bulk")
    await cancel(ledger, batch)
    with pytest.raises(errors.Busy):
        await seal(ledger, batch, queue="bulk")

    # The worker learns of it with its next checkpoint, brings home what is paid, and lets go.
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
    assert await ledger.client.hget(ledger.keys.batch(batch), "state") == b"cancelled"
    assert await counters(ledger, batch, "succeeded", "cancelled", "total") == [1, 1, 2]
