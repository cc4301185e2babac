"""The life of a batch: opened, fed, claimed, checkpointed, sealed, joined, closed.

A *batch* is many jobs with one lifecycle. Its items have no records of their own: a *shard*, a run of consecutive items, is what
travels and is claimed. Rows lie in the ledger only until their shard's part is committed to a file, so Redis holds as
much of a million items as of ten thousand.
"""

from __future__ import annotations

from small_batch import counters, opened, state

from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.close import close
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_rows import rows_of


async def test_a_batchs_life(ledger: Ledger) -> None:
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
    assert await state(ledger, batch) == "completed"
