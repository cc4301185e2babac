"""The end of an answer: its stream decides, not the end of its connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from headrace.errors import CallError
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.reducer import Chunk, Reducer

MAX_TURN_S = 0.02
USAGE_WAIT_S = 5.0
"""Seconds to wait for the usage of an answer that has its finish reason."""
END_WAIT_S = 0.5
"""Seconds to wait for the end of a stream that has both: then its connection can be reused."""

Chunks = AsyncIterator[Chunk | None] | AsyncGenerator[Chunk | None]


async def fill(reducer: Reducer, chunks: Chunks, deliver: Callable[[Delta], None] | None) -> None:
    """Feed the reducer with one call's answer. Raises `CallError` for one that failed, or broke off before it was over."""
    turned_s, reading = time.monotonic(), True
    try:
        async for chunk in chunks:
            reading = False
            deltas = reducer.add(chunk)
            if deliver is not None:
                for delta in deltas:
                    deliver(delta)
            if time.monotonic() - turned_s > MAX_TURN_S:
                await asyncio.sleep(0)  # thousands of chunks may come out of one read
                turned_s = time.monotonic()
            if reducer.may_be_over and reducer.is_over:
                break
            reading = True
        else:
            return
    except CallError:
        if reading and reducer.is_over:
            return
        raise
    await take_rest(reducer, chunks, deliver)


async def take_rest(reducer: Reducer, chunks: Chunks, deliver: Callable[[Delta], None] | None) -> None:
    """Read what may follow a complete answer: its usage, `[DONE]`, the end of the connection, each with a short timeout.
    Where every chunk says that it is the last, a silence has to be longer."""
    clock = asyncio.get_running_loop().time
    until = clock() + USAGE_WAIT_S
    while True:
        if reducer.is_surely_over and reducer.has_usage:
            until = min(until, clock() + END_WAIT_S)
        elif not reducer.is_surely_over:
            until = clock() + USAGE_WAIT_S
        try:
            async with asyncio.timeout_at(until):
                chunk = await anext(chunks)
        except (StopAsyncIteration, TimeoutError):
            return
        except CallError:
            if reducer.is_surely_over:
                return
            raise
        try:
            deltas = reducer.add(chunk)
        except CallError:
            if reducer.is_surely_over and not (chunk or {}).get("choices"):
                return  # an error that comes after the end
            raise
        if deliver is not None:
            for delta in deltas:
                deliver(delta)
