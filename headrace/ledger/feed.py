"""Feed: create records of a batch's next shards. The cursor makes it idempotent, and safe from a second leader."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.submit import GRACE_MS


async def feed(ledger: Ledger, batch_id: str, cursor: int, shards: Sequence[ShardRange], *, queue: str) -> int:
    """Create records of the shards numbered from `cursor` on and return the new cursor.

    Raises `Gap` (its `detail` is the real cursor), `Paused` or `Closed`.
    """
    keys = ledger.keys
    (fed,) = await ledger.run(
        "feed",
        batch_id,
        {"batch": keys.batch(batch_id), "due": keys.due},
        {"id": batch_id, "cursor": cursor, "prefix": keys.prefix, "queue": queue, "grace_ms": GRACE_MS},
        [part for shard in shards for part in (shard.line, shard.count, shard.offset, shard.length)],
    )
    return int(fed)
