"""A batch of one shard with two items, opened and fed in a ledger by hand, and its counters."""

from __future__ import annotations

from headrace.jobs.job import new_id
from headrace.ledger.feed import feed
from headrace.ledger.open import open_batch
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange


async def opened(ledger: Ledger) -> str:
    """The id of the batch; its shard `<id>.s0` is on the queue `bulk`."""
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


async def state(ledger: Ledger, batch: str) -> str:
    return (await ledger.client.hget(ledger.keys.batch(batch), "state")).decode()
