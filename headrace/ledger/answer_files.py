"""Files of closed batches in which answers are found that the answer cache no longer has: a set of names for each family of
questions, beside the cached answers, each with the time from which on its answers were paid."""

from __future__ import annotations

from headrace.ledger.script import Ledger

MAX_FILES = 50
"""Files of one family at most: the newest."""


async def add_answer_file(
    ledger: Ledger, tenant: str, family: str, name: str, *, paid_from_ms: int, ttl_ms: int
) -> None:
    """Let the answers in the file be found for `ttl_ms` from `paid_from_ms` on. Idempotent."""
    key = ledger.keys.answer_files(tenant, family)
    async with ledger.client.pipeline(transaction=True) as pipeline:
        pipeline.zadd(key, {name: paid_from_ms})
        pipeline.zremrangebyrank(key, 0, -MAX_FILES - 1)
        pipeline.pexpire(key, ttl_ms)
        await pipeline.execute()


async def answer_files(ledger: Ledger, tenant: str, family: str, *, ttl_ms: int) -> list[str]:
    """Return the files that may have answers to questions of the family, the newest first."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.zrange(ledger.keys.answer_files(tenant, family), 0, MAX_FILES - 1, desc=True, withscores=True)
        (seconds, _), entries = await pipeline.execute()
    return [name.decode(errors="replace") for name, paid_from_ms in entries if paid_from_ms + ttl_ms > seconds * 1000]
