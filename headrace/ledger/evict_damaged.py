"""Evict damaged: end damaged records and remove them from the indexes, so that no process fails on them again. They become
dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.queues import QUEUES
from headrace.ledger.script import Ledger

RESULT = b'{"error":{"code":"damaged","message":"its record in Redis could not be worked with"}}'
EVENT = b'{"t":"end","status":"failed","error":{"code":"damaged"}}'


async def evict_damaged(ledger: Ledger, names: Sequence[str | bytes], *, where: str) -> list[tuple[str, str]]:
    """Check the records `names` (jobs, shards, joins, batches) and evict those that are damaged. Returns these, each
    with a short reason. A damaged job has ended then: `failed`, code `damaged`. `where` is the index, or the queue, in
    which they were met."""
    if not names:
        return []
    keys = ledger.keys
    flat = await ledger.run(
        "evict_damaged",
        where,
        {
            "due": keys.due,
            "leases": keys.leases,
            "open": keys.open,
            "rejected": keys.rejected,
            "rejections": keys.rejections,
        },
        {
            "prefix": keys.prefix,
            "where": where,
            "queues": " ".join(QUEUES),
            "result": RESULT,
            "event": EVENT,
            "keep_ms": TOMBSTONE_MS,
        },
        list(names),
    )
    return [(readable(flat[i]), flat[i + 1].decode()) for i in range(0, len(flat), 2)]


async def evict_expired(ledger: Ledger, *, limit: int = 500) -> list[tuple[str, str]]:
    """Evict damaged records whose leases have expired: for when `recover` failed on one of them."""
    seconds, microseconds = await ledger.client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    expired: Any = await ledger.client.zrangebyscore(ledger.keys.leases, "-inf", now_ms, start=0, num=limit)
    return await evict_damaged(ledger, expired, where="leases")


def readable(name: bytes) -> str:
    """Return a name for a log: a malformed id is not quoted, only its length is given."""
    text = name.decode("ascii", "replace")
    return (
        text
        if text.replace("_", "").replace(".", "").replace("-", "").isalnum() and len(text) < 100
        else f"{len(name)} bytes"
    )
