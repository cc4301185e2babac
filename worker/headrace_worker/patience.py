"""Writes that must not be dropped because Redis is away: they are tried again for minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from headrace.errors import Damaged
from headrace.ledger.script import AWAY, is_damage

T = TypeVar("T")
PATIENCE_S = 600.0
LONGEST_WAIT_S = 1.0

log = structlog.get_logger("headrace.worker.patience")


async def patiently(write: Callable[[], Awaitable[T]], *, patience_s: float = PATIENCE_S) -> T:
    """Call `write` until Redis takes it. The moves are safe to repeat. Raises the last error after `patience_s`,
    `Damaged` at once."""
    deadline = asyncio.get_running_loop().time() + patience_s
    wait_s = 0.05
    while True:
        try:
            return await write()
        except AWAY as error:
            if is_damage(error):  # waiting would not mend it
                raise Damaged("what stands in Redis", type(error).__name__) from error
            if asyncio.get_running_loop().time() > deadline:
                log.error("redis stayed away too long", error=type(error).__name__, seconds=patience_s)
                raise
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)
