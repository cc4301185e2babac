"""A crash repeats only what has no row.

Each item that ends becomes a row in the ledger at once: a *checkpoint*, fenced like every write. When the worker of a shard dies,
the next one finds the rows, and pays for the rest. A row never changes, whoever writes it again, and it is counted once.
"""

from __future__ import annotations

from small_batch import counters, opened

from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.shard_rows import rows_of


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
