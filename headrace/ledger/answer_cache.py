"""Answers kept for all workers: a string for each question, by the digest of what is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headrace.ledger.script import Ledger

SCAN_COUNT = 1000
"""Keys that the server looks at for each call while it lists what is kept."""


async def kept_answer(ledger: Ledger, sha: str) -> bytes | None:
    """Return the answer that is kept for a question; None when there is none."""
    return await ledger.client.get(ledger.keys.cache(sha))


async def keep_answer(ledger: Ledger, sha: str, answer: bytes, *, ttl_ms: int) -> None:
    """Keep `answer` for `ttl_ms`, in place of an earlier one."""
    await ledger.client.set(ledger.keys.cache(sha), answer, px=ttl_ms)


async def count_answers(ledger: Ledger) -> int:
    """Return the number of answers that are kept. Lists them all: not for every call."""
    return len([key async for key in _answers(ledger)])


async def drop_answers(ledger: Ledger) -> None:
    """Drop every answer that is kept."""
    async for key in _answers(ledger):
        await ledger.client.unlink(key)


def _answers(ledger: Ledger) -> AsyncIterator[bytes]:
    return ledger.client.scan_iter(ledger.keys.cache("*"), count=SCAN_COUNT)
