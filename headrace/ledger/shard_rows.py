"""The rows of a shard without a part: the kind byte and the line, or its offset in a segment file."""

from __future__ import annotations

from headrace.ledger.script import Ledger

MAX_DIGITS = 10
"""Maximal digits of an item's index in its shard."""


async def rows_of(ledger: Ledger, shard_id: str) -> dict[int, bytes]:
    """Return all rows of a shard by the item's index in it."""
    stored = await ledger.client.hgetall(ledger.keys.rows(ledger.keys.shard(shard_id)))
    return {int(index): row for index, row in stored.items() if index.isdigit() and len(index) < MAX_DIGITS}


async def rows_in_order(ledger: Ledger, shard_id: str, first: int, end: int) -> list[bytes]:
    """Return the rows from index `first` on, before `end`, up to the first one that is missing."""
    rows = await ledger.client.hmget(ledger.keys.rows(ledger.keys.shard(shard_id)), list(range(first, end)))
    return rows[: rows.index(None)] if None in rows else rows
