"""One limit for calls as a whole, at the cost of one timer for all that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")


class TotalDeadline:
    """Ends each call that takes longer than `limit_s` seconds with `TimeoutError`."""

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self._running: WeakKeyDictionary[asyncio.AbstractEventLoop, RunningCalls] = WeakKeyDictionary()
        self._latest: RunningCalls | None = None

    def call(self) -> LimitedCall:
        """Return a context for one call on the running loop."""
        loop = asyncio.get_running_loop()
        running = self._latest
        if running is None or running.loop() is not loop:
            running = self._running.get(loop)
            if running is None:
                running = self._running[loop] = RunningCalls(loop, self.limit_s)
            self._latest = running
        return LimitedCall(running, loop)


class RunningCalls:
    """The calls of one event loop. All have the same limit, so the first to begin is the first to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float):
        self.loop = ref(loop)  # a loop that is over need not be kept
        self._limit_s = limit_s
        self._ends_at: dict[LimitedCall, float] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: LimitedCall, loop: asyncio.AbstractEventLoop) -> None:
        ends_at = self._ends_at[call] = loop.time() + self._limit_s
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._look, loop)

    def end(self, call: LimitedCall) -> None:
        self._ends_at.pop(call, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._ends_at:
            call, ends_at = next(iter(self._ends_at.items()))
            if ends_at > loop.time():
                self._timer = loop.call_at(ends_at, self._look, loop)
                return
            del self._ends_at[call]
            call.expire()


class LimitedCall:
    """The context of one call, which ends the wait that goes on when its time is over, and every one that begins later. What
    happens between two waits is never cancelled: it is the caller's own work. Who cancels its task for another reason still
    does so."""

    def __init__(self, running: RunningCalls, loop: asyncio.AbstractEventLoop):
        self._running = running
        self._loop = loop
        self._has_passed = self._is_over = False
        self._task: asyncio.Task[Any] | None = None

    async def within(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Return what `wait` comes to. Raises `TimeoutError`; cancelled by somebody else, it is cancelled."""
        if self._has_passed:
            raise TimeoutError
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None
        before = task.cancelling()
        try:
            return await wait()
        except asyncio.CancelledError:
            if self._is_over and task.cancelling() - 1 <= before:
                raise TimeoutError from None
            raise
        finally:
            self._task = None
            if self._is_over:
                self._is_over = False
                task.uncancel()

    def expire(self) -> None:
        self._has_passed = True
        if self._task is not None:
            self._is_over = True
            self._task.cancel()

    def __enter__(self) -> Self:
        self._running.begin(self, self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.end(self)
