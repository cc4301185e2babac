"""Waiting for Redis while it is away, and ending those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace.errors import Unreachable
from headrace.ledger.script import AWAY

T = TypeVar("T")

RETRY_S = 0.2
PATIENCE_S = 60.0


async def persistently(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` returns, tried again while Redis is away, for a minute at most. Raises `Unreachable`."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await read()
        except AWAY as error:
            if asyncio.get_running_loop().time() > deadline:
                raise away_too_long(error) from error
        await asyncio.sleep(RETRY_S)


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel the tasks and wait until they have ended. Again and again: a cancellation can get lost inside redis-py.

    What one of them failed with is not logged as forgotten: whoever stops it no longer asks.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)
    for task in tasks:
        if task is not None and not task.cancelled():
            task.exception()


def away_too_long(error: BaseException) -> Unreachable:
    return Unreachable(
        f"no answer from Redis for {PATIENCE_S:g} s ({type(error).__name__}). What was submitted goes on as soon as it is "
        "back: come back with the id."
    )
