"""The one event loop, in a thread of its own, on which calls without `await` run."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a loop does not survive a fork


def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, begun on first use. Its thread ends with the process."""
    with _lock:
        if os.getpid() not in _loops:
            made = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=made.run_forever, name="headrace-calls", daemon=True).start()
        return _loops[os.getpid()]


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, awaited there. An interrupt here (Ctrl-C) cancels it there."""
    if threading.current_thread().name == "headrace-calls":
        work.close()
        raise RuntimeError("a call without `await` inside the loop of such calls would wait for itself: use `acall`")
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
