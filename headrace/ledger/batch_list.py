"""Lists of batches: a tenant's that were created over HTTP, newest first; those that a budget has paused; which there are, and
which have ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from headrace.errors import Unknown
from headrace.ledger.batch_record import BatchRecord
from headrace.ledger.script import Ledger
from headrace.ledger.state import BATCH_TERMINAL

PAGE = 50


async def created_batches(ledger: Ledger, tenant: str, *, after: str | None = None) -> AsyncGenerator[BatchRecord]:
    """Yield them, from the one behind `after` on; those whose records are gone or damaged are passed over. Raises `Unknown` for
    an `after` that is not among them."""
    key, at = ledger.keys.batches(tenant), 0
    if after is not None:
        rank = await ledger.client.zrevrank(key, after)
        if rank is None:
            raise Unknown(after, "no such batch, so the list cannot go on behind it")
        at = rank + 1
    while names := await ledger.client.zrevrange(key, at, at + PAGE - 1):
        at += len(names)
        ids = [raw.decode(errors="replace") for raw in names]
        async with ledger.client.pipeline(transaction=False) as pipeline:
            for batch_id in ids:
                pipeline.hgetall(ledger.keys.batch(batch_id))
            replies = await pipeline.execute(raise_on_error=False)
        for batch_id, fields in zip(ids, replies, strict=True):
            if isinstance(fields, dict) and fields.get(b"endpoint"):
                yield BatchRecord(batch_id, {name.decode(): value for name, value in fields.items()})


async def unknown_batches(ledger: Ledger, batch_ids: Sequence[str]) -> list[str]:
    """Return those of `batch_ids` that have no record."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for batch_id in batch_ids:
            pipeline.exists(ledger.keys.batch(batch_id))
        there = await pipeline.execute()
    return [batch_id for batch_id, known in zip(batch_ids, there, strict=True) if not known]


class KnownEnd(NamedTuple):
    """The state of a batch, and when it ended: None for one that is open. A record that cannot be read is taken for open."""

    state: str
    ended_ms: int | None


async def batch_ends(ledger: Ledger, batch_ids: Sequence[str]) -> dict[str, KnownEnd]:
    """Return those of `batch_ids` that have a record."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for batch_id in batch_ids:
            pipeline.hmget(ledger.keys.batch(batch_id), "state", "ended")
            pipeline.exists(ledger.keys.batch(batch_id))
        replies = await pipeline.execute(raise_on_error=False)
    ends: dict[str, KnownEnd] = {}
    for batch_id, fields, known in zip(batch_ids, replies[::2], replies[1::2], strict=True):
        if known == 0:
            continue
        state, ended = [value or b"" for value in fields] if isinstance(fields, list) else (b"", b"")
        is_over = state.decode(errors="replace") in BATCH_TERMINAL and ended.isdigit()
        ends[batch_id] = KnownEnd(state.decode(errors="replace"), int(ended) if is_over else None)
    return ends


async def batches_paused_by(ledger: Ledger, tenant: str, scope: str) -> list[str]:
    """Return the open batches of a tenant that the budget of `scope` (`batch`, `tenant`) has paused."""
    ids = [raw.decode() for raw in await ledger.client.zrange(ledger.keys.open, 0, -1) if raw.isascii()]
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for batch_id in ids:
            pipeline.hmget(ledger.keys.batch(batch_id), ["paused_by", "tenant"])
        replies = await pipeline.execute(raise_on_error=False)
    wanted = [scope.encode(), tenant.encode()]
    return [batch_id for batch_id, reply in zip(ids, replies, strict=True) if reply == wanted]


async def open_batches(ledger: Ledger, first: int, count: int) -> Sequence[bytes]:
    """Return the ids of at most `count` open batches, the oldest first, from place `first` on: raw entries of the index."""
    return await ledger.client.zrange(ledger.keys.open, first, first + count - 1)


async def forget_open_batch(ledger: Ledger, batch_id: str) -> None:
    """Remove a batch without a record from the index of open batches."""
    await ledger.client.zrem(ledger.keys.open, batch_id)
