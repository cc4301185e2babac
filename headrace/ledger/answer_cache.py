"""The shared answer cache of all workers: one string per request, keyed by the request's digest."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headrace.ledger.script import Ledger

SCAN_COUNT = 1000
"""`COUNT` of each `SCAN` call over the cache."""


async def kept_answer(ledger: Ledger, sha: str) -> bytes | None:
    """Return the cached answer to a request; None on a miss."""
    return await ledger.client.get(ledger.keys.cache(sha))


async def keep_answer(ledger: Ledger, sha: str, answer: bytes, *, ttl_ms: int) -> None:
    """Cache `answer` with a TTL of `ttl_ms`, replacing an earlier one."""
    await ledger.client.set(ledger.keys.cache(sha), answer, px=ttl_ms)


async def count_answers(ledger: Ledger) -> int:
    """Return the number of cached answers. It scans them all: not for every call."""
    return len([key async for key in _answers(ledger)])


async def drop_answers(ledger: Ledger) -> None:
    """Delete every cached answer."""
    async for key in _answers(ledger):
        await ledger.client.unlink(key)


def _answers(ledger: Ledger) -> AsyncIterator[bytes]:
    return ledger.client.scan_iter(ledger.keys.cache("*"), count=SCAN_COUNT)
