"""The one event loop, in a thread of its own, on which calls without `await` run."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

THREAD = "headrace-calls"
LAST_S = 2.0
_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a loop does not survive a fork


def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, begun on first use. Its thread ends with the process."""
    with _lock:
        if os.getpid() not in _loops:
            made = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=made.run_forever, name=THREAD, daemon=True).start()
            atexit.register(settle, os.getpid())
        return _loops[os.getpid()]


def is_running_here() -> bool:
    return threading.current_thread().name == THREAD


def later(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Begin `work()` there, without waiting for it; after a fork it is not this process's any more."""
    found = _loops.get(os.getpid())
    if found is not None and found.is_running():
        asyncio.run_coroutine_threadsafe(work(), found)


def settle(pid: int) -> None:
    """At the end of the process: let what was begun there come to its end."""
    found = _loops.get(pid)
    if found is None or pid != os.getpid():
        return

    async def others() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(tasks, timeout=LAST_S) if tasks else None

    with contextlib.suppress(TimeoutError, RuntimeError):
        asyncio.run_coroutine_threadsafe(others(), found).result(2 * LAST_S)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, awaited there. An interrupt here (Ctrl-C) cancels it there."""
    if is_running_here():
        work.close()
        raise RuntimeError("a call without `await` inside the loop of such calls would wait for itself: use `acall`")
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
