"""Keep answers: cache a group of answers, and give back the questions that the caller led; the oldest answers make room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from headrace.ledger.script import Ledger


class Kept(NamedTuple):
    """The outcome of one question. `how`: `set` its answer, `add` it where none is, `leave` the question to the next one, or
    `fail`: for a moment nobody waits for anybody's answer to it. `record` is who led it, empty where nobody did.

    The first eight bytes of an answer differ from those of any other under the same key.
    """

    sha: str
    record: str
    how: Literal["set", "add", "leave", "fail"]
    answer: bytes = b""


async def keep_answers(
    ledger: Ledger,
    group: Sequence[Kept],
    *,
    tenant: str,
    process: str,
    ttl_ms: int,
    max_bytes: int = 0,
    tenant_bytes: int = 0,
) -> int:
    """Keep the answers for `ttl_ms`, and return how many were. Together they take `max_bytes` at most, those of one tenant
    `tenant_bytes` (0: unbounded), counted with what a key takes beside them. Idempotent."""
    (kept,) = await ledger.run(
        "keep_answers",
        "the answer cache",
        {"use": ledger.keys.cache_use, "order": ledger.keys.cached(tenant)},
        {
            "prefix": ledger.keys.prefix,
            "tenant": tenant,
            "process": process,
            "ttl_ms": ttl_ms,
            "max_bytes": max_bytes,
            "tenant_bytes": tenant_bytes,
        },
        [part for each in group for part in each],
    )
    return int(kept)
