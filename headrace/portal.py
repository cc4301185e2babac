"""Event loops in threads of their own, for code without `await`; and the one of this process on which direct calls run."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SETTLE_S = 2.0
JOIN_S = 5.0


class LoopThread:
    """An event loop in a daemon thread. It ends with `close`, or with the process; it does not survive a fork."""

    def __init__(self, name: str):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await `ask()` on the loop and return its result. An interrupt here (Ctrl-C) cancels it there."""

        async def asked() -> T:
            return await ask()

        future = asyncio.run_coroutine_threadsafe(asked(), self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def later(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Begin `work()` on the loop, without waiting for it."""
        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(work(), self.loop)

    def settle(self) -> None:
        """Wait until what was begun on the loop has ended, for `SETTLE_S` at most."""

        async def others() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(tasks, timeout=SETTLE_S) if tasks else None

        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(others(), self.loop).result(2 * SETTLE_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self.loop.close()


_lock = threading.Lock()
_shared: dict[int, LoopThread] = {}
"""By process: after a fork the child begins one of its own."""


def shared() -> LoopThread:
    """Return the loop of this process for direct calls, begun on first use."""
    with _lock:
        if os.getpid() not in _shared:
            _shared[os.getpid()] = LoopThread("headrace-calls")
            atexit.register(_settle, os.getpid())
        return _shared[os.getpid()]


def _settle(pid: int) -> None:
    if pid == os.getpid():
        _shared[pid].settle()


def is_running_here() -> bool:
    """Return True on the thread of the shared loop."""
    found = _shared.get(os.getpid())
    return found is not None and found.is_current


def later(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Begin `work()` on the shared loop without waiting for it; do nothing after a fork: it is not this process's any more."""
    found = _shared.get(os.getpid())
    if found is not None:
        found.later(work)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` on the shared loop and return its result. An interrupt here (Ctrl-C) cancels it there."""
    if is_running_here():
        work.close()
        raise RuntimeError("a call without `await` inside the loop of such calls would wait for itself: use `acall`")
    return shared().run(lambda: work)
