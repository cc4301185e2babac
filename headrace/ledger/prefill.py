"""Prefill: set the rows that an earlier batch paid for, before a shard of its retry runs the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.ledger.keys import batch_of
from headrace.ledger.script import Ledger


async def prefill(
    ledger: Ledger,
    shard_id: str,
    epoch: int,
    rows: Iterable[tuple[int, bytes]],
    codes: Mapping[int, str] | None = None,
) -> int:
    """Set `rows` (index in the shard, row) where none is yet; return the number of new ones. They add nothing to the usage;
    `codes` has the failure codes of failed rows by index, which are counted.

    Raises `Fenced`, `Closed` (the batch is sealed) or `Unknown`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_of(shard_id))
    (fresh,) = await ledger.run(
        "prefill",
        shard_id,
        {
            "shard": keys.shard(shard_id),
            "rows": keys.rows(keys.shard(shard_id)),
            "batch": batch,
            "held": keys.held,
            "log": keys.log(batch),
        },
        {"epoch": epoch, "channel": keys.channel(batch)},
        [
            part
            for index, row in rows
            for part in (index, row, f"code:{codes[index]} 1" if codes and index in codes else "")
        ],
    )
    return int(fresh)
