"""The choices of a job that were paid for, in Redis, until all of them are there."""

from __future__ import annotations

from headrace.ledger.answer_cache import keep_choice, paid_choice
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.logs import get_logger

log = get_logger("headrace.worker.paid_choices")

MAX_BYTES = 1 << 20
"""Bytes of a choice at most; a larger one is paid again should its job have to begin anew."""


class RedisChoices:
    """One string per choice, with a TTL of `ttl_s`. While Redis is unavailable none was paid, and none is kept."""

    def __init__(self, ledger: Ledger, ttl_s: float):
        self._ledger = ledger
        self._ttl_ms = int(ttl_s * 1000)

    async def get(self, key: str) -> bytes | None:
        try:
            return await paid_choice(self._ledger, key)
        except UNAVAILABLE as error:
            log.warning("no look at the paid choices", error=type(error).__name__)
            return None

    async def set(self, key: str, value: bytes) -> None:
        if len(value) > MAX_BYTES:
            log.info("a choice is not kept: it is too large", bytes=len(value), max_bytes=MAX_BYTES)
            return
        try:
            await keep_choice(self._ledger, key, value, ttl_ms=self._ttl_ms)
        except UNAVAILABLE as error:
            log.warning("a choice is not kept", error=type(error).__name__)
