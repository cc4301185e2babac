"""Waiting for Redis while it is away, with a read or with a write, and ending those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace.errors import Damaged, Unreachable
from headrace.ledger.script import UNAVAILABLE, is_damage
from headrace.logs import get_logger

T = TypeVar("T")

RETRY_S = 0.2
PATIENCE_S = 60.0
WRITE_PATIENCE_S = 600.0
"""Of a write that must not be dropped: what it says was paid for."""
WRITE_RETRY_S, MAX_WRITE_WAIT_S = 0.05, 1.0

log = get_logger("headrace.waiting")


async def retry_read(read: Callable[[], Awaitable[T]]) -> T:
    """Return what `read` returns, tried again while Redis is away, for a minute at most. Raises `Unreachable`, and `Damaged` at
    once."""
    try:
        return await _while_away(read, PATIENCE_S, RETRY_S, RETRY_S)
    except UNAVAILABLE as error:
        raise away_too_long(error) from error


async def retry_write(write: Callable[[], Awaitable[T]], *, patience_s: float = WRITE_PATIENCE_S) -> T:
    """Call `write` until Redis takes it. The moves are safe to repeat. Raises the last error after `patience_s`,
    `Damaged` at once."""
    try:
        return await _while_away(write, patience_s, WRITE_RETRY_S, MAX_WRITE_WAIT_S)
    except UNAVAILABLE as error:
        log.error("redis stayed away too long", error=type(error).__name__, seconds=patience_s)
        raise


async def _while_away(call: Callable[[], Awaitable[T]], patience_s: float, wait_s: float, max_wait_s: float) -> T:
    """Return what `call` returns, tried again while Redis is away. Raises its error after `patience_s`; `Damaged` for what no
    waiting would mend."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await call()
        except UNAVAILABLE as error:
            if is_damage(error):
                raise Damaged("what stands in Redis", type(error).__name__) from error
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, max_wait_s)


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel the tasks and wait until they have ended. Again and again: a cancellation can get lost inside redis-py.

    Cancelled itself, it still waits for them: they would outlive the loop that they run on. What one of them failed with is
    not logged as forgotten: whoever stops it no longer asks.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=0.1)
        except asyncio.CancelledError as error:
            cancelled = error
        left = {task for task in left if not task.done()}
    for task in tasks:
        if task is not None and not task.cancelled():
            task.exception()
    if cancelled is not None:
        raise cancelled


def away_too_long(error: BaseException) -> Unreachable:
    return Unreachable(
        f"no answer from Redis for {PATIENCE_S:g} s ({type(error).__name__}). What was submitted goes on as soon as it is "
        "back: come back with the id."
    )
