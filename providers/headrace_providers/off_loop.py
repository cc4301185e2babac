"""Run long work in a thread, off the event loop, which it must neither block nor end. The work is bounded, so it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 2
"""Maximal number of threads: they share one interpreter with the loop and delay its turns."""
readers = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="headrace-reader")


class Exited(Exception):
    """An attempt tried to exit its process. It fails alone: the loop, and the other attempts on it, go on."""


async def contained(work: Awaitable[T]) -> T:
    """Return what `work` returns or raises, with `SystemExit` and `KeyboardInterrupt` converted to `Exited`."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Exited(type(error).__name__) from error


async def off_loop(work: Callable[P, T], *args: P.args, **words: P.kwargs) -> T:
    """Return what `work` returns or raises, run in a thread."""
    return await asyncio.get_running_loop().run_in_executor(readers, partial(work, *args, **words))
