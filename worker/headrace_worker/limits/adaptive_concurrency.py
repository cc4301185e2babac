"""Adaptive concurrency: where no limit is known, as many calls are in flight at a deployment as it bears.

Halved by 429, 503 and time-outs, once for all calls that were in flight together; one more with as many answers as there are
calls in flight (AIMD). As long as nothing was refused it bounds nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from headrace.errors import CallError
from headrace_worker.engine.deployment_hold import DRAINING, Deferred, wake

DECREASE = 0.5
MIN_DECREASE_S = 1.0
OVERLOADED = frozenset({429, 503, 529})
MAX_WAIT_S = 2.0


class AdaptivePlace:
    """The place of one call; say what came of it, then `close` it."""

    __slots__ = ("_concurrency", "begun_s")

    def __init__(self, concurrency: AdaptiveConcurrency, begun_s: float):
        self._concurrency = concurrency
        self.begun_s = begun_s

    def answered(self) -> None:
        self._concurrency.answered()

    def failed(self, failure: CallError) -> None:
        self._concurrency.failed(failure, self.begun_s)

    def close(self) -> None:
        self._concurrency.leave()


class AdaptiveConcurrency:
    """The calls in flight at one deployment, at most `most`; `name` is its provider's."""

    def __init__(self, name: str, most: int, *, clock: Callable[[], float] = time.monotonic):
        self.name = name
        self.limit = float(most)
        self._most = most
        self._clock = clock
        self._in_flight = 0
        self._decreased_s = float("-inf")
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._draining = False

    async def enter(self, *, patient: bool) -> AdaptivePlace:
        """Wait for a place and take it. Raises `Deferred`: `patient` callers are sent away by a drain alone."""
        until_s = self._clock() + MAX_WAIT_S
        # Below its upper bound nobody looks at it: that many slots are there.
        while self.limit < self._most and self._in_flight >= int(self.limit):
            if self._draining:
                raise Deferred(0, DRAINING)
            left_s = until_s - self._clock()
            if left_s <= 0 and not patient:
                raise Deferred(MAX_WAIT_S, "rate_limited", f"{self.name} bears {int(self.limit)} calls at a time now")
            await self._wait(None if patient else left_s)
        self._in_flight += 1
        return AdaptivePlace(self, self._clock())

    def leave(self) -> None:
        self._in_flight -= 1
        self._wake(1)

    def answered(self) -> None:
        if self.limit < self._most:
            self.limit = min(float(self._most), self.limit + 1 / self.limit)
            self._wake(1)

    def failed(self, failure: CallError, begun_s: float) -> None:
        """Take account of a failure of a call that began at `begun_s`."""
        if failure.status not in OVERLOADED and failure.code not in ("rate_limited", "timeout"):
            return
        now = self._clock()
        if begun_s < self._decreased_s or now - self._decreased_s < MIN_DECREASE_S:
            return  # it was in flight with the one that has been taken account of
        self._decreased_s = now
        self.limit = max(1.0, min(self.limit, float(self._in_flight)) * DECREASE)

    def drain(self) -> None:
        self._draining = True
        self._wake(len(self._waiters))

    async def _wait(self, at_most_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiters.append(turn)
        timer = loop.call_later(at_most_s, wake, turn) if at_most_s is not None else None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake(1)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if turn in self._waiters:
                self._waiters.remove(turn)

    def _wake(self, count: int) -> None:
        while self._waiters and count > 0:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1
