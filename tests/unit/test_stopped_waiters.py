"""Ending those who wait."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from headrace.waiting import stop


async def test_a_stopped_waiter_takes_its_failure_with_it() -> None:
    """Two that work on one connection fail together; one failure is told, the other is no "exception was never retrieved"."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def fail() -> None:
        raise ConnectionError

    async def fail_when_stopped() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError

    tasks = [asyncio.create_task(fail()), asyncio.create_task(fail_when_stopped())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await stop(*tasks, None)
    del tasks
    gc.collect()
    assert told == []
