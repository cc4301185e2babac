"""The rows of a shard that has no part yet: the kind byte and the line, or where it lies in a segment file."""

from __future__ import annotations

from headrace.ledger.script import Ledger

MAX_DIGITS = 10
"""Of an item's place in its shard."""


async def rows_of(ledger: Ledger, shard_id: str) -> dict[int, bytes]:
    """Return every row that a shard has so far, by the item's place in it."""
    stored = await ledger.client.hgetall(ledger.keys.rows(ledger.keys.shard(shard_id)))
    return {int(index): row for index, row in stored.items() if index.isdigit() and len(index) < MAX_DIGITS}


async def rows_in_order(ledger: Ledger, shard_id: str, first: int, end: int) -> list[bytes]:
    """Return the rows from place `first` on, before place `end`, up to the first that is not there yet."""
    rows = await ledger.client.hmget(ledger.keys.rows(ledger.keys.shard(shard_id)), list(range(first, end)))
    return rows[: rows.index(None)] if None in rows else rows
