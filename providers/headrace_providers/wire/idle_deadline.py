"""A limit for each wait of many, at the cost of one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class IdleDeadline:
    """Ends a wait with `TimeoutError` when it takes `limit_s` seconds; what happens between two waits does not count.

    `asyncio.timeout` makes and cancels a timer for each wait, which costs as much as the rest of a chunk's way. Here one
    timer is left to run, and looks at its end since when the wait of that moment goes on. Close it after use.
    """

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(limit_s, self._look)
        self._task: asyncio.Task[object] | None = None
        self._since: float | None = None
        self._is_over = False

    def change(self, limit_s: float) -> None:
        """Set another limit, for the waits that begin from now on."""
        if limit_s != self.limit_s:
            self.limit_s = limit_s
            self._timer.cancel()
            self._timer = self._loop.call_later(limit_s, self._look)

    def close(self) -> None:
        self._timer.cancel()

    async def within(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Return what `wait` comes to. Raises `TimeoutError`; cancelled by somebody else, it is cancelled."""
        task = self._task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        self._since = self._loop.time()
        try:
            return await wait()
        except asyncio.CancelledError:
            if self._is_over and task.cancelling() - 1 <= before:
                raise TimeoutError from None
            raise  # somebody else wants it to end, too
        finally:
            self._since = None
            if self._is_over:
                self._is_over = False
                task.uncancel()

    def _look(self) -> None:
        now = self._loop.time()
        ends_at = (now if self._since is None else self._since) + self.limit_s
        if self._since is not None and self._task is not None and ends_at <= now:
            # It stands in its wait, so that is where the cancellation arrives.
            self._is_over = True
            self._task.cancel()
            ends_at = now + self.limit_s
        self._timer = self._loop.call_at(ends_at, self._look)
