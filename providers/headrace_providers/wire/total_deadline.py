"""One limit for calls as a whole, at the cost of one timer for all that are under way."""

from __future__ import annotations

import asyncio
from types import TracebackType
from weakref import WeakKeyDictionary, ref


class TotalDeadline:
    """Ends each call that takes longer than `limit_s` seconds with `TimeoutError`, as `asyncio.timeout` does."""

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self._running: WeakKeyDictionary[asyncio.AbstractEventLoop, RunningCalls] = WeakKeyDictionary()
        self._latest: RunningCalls | None = None

    def call(self) -> LimitedCall:
        """Return a context for one call of the running task."""
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
    """The context of one call. Who cancels its task for another reason still does so."""

    def __init__(self, running: RunningCalls, loop: asyncio.AbstractEventLoop):
        self._running = running
        self._loop = loop
        self._is_over = False
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._before = task.cancelling()

    def expire(self) -> None:
        self._is_over = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._running.begin(self, self._loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.end(self)
        if self._is_over and self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
