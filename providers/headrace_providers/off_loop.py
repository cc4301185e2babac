"""Work off the event loop, which must not be held up or ended: long work is done in a thread, and ends, because its work is
bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 2
"""They share one interpreter with the loop, whose turn comes the later the more there are."""
readers = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="headrace-reader")


class Exited(Exception):
    """Something in an attempt asked its process to exit. It is that attempt's failure: the loop, and the others on it, go on."""


async def contained(work: Awaitable[T]) -> T:
    """Return what `work` returns or raises, but nothing that would end the loop (`SystemExit`, `KeyboardInterrupt`)."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Exited(type(error).__name__) from error


async def off_loop(work: Callable[P, T], *args: P.args, **words: P.kwargs) -> T:
    """Return what `work` returns or raises, done while the loop goes on."""
    return await asyncio.get_running_loop().run_in_executor(readers, partial(work, *args, **words))
