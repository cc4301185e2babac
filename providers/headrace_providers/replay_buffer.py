"""An append-only list with any number of concurrent readers, from any thread or event loop, each from the start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReplayBuffer(Generic[T]):
    """Iterate it with `for` or `async for`: every reader gets every item in order, then the end, or the error that ended
    it. Items are never dropped, so that a late reader gets all of them."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._error: BaseException | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []

    def put(self, item: T) -> None:
        with self._lock:
            self.items.append(item)
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def close(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._closed, self._error = True, error
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def __iter__(self) -> Iterator[T]:
        position = 0
        while True:
            woken = threading.Event()
            if self._has(position, woken.set):
                yield self.items[position]
                position += 1
            elif self._closed:
                break
            else:
                woken.wait()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[T]:
        position, loop = 0, asyncio.get_running_loop()
        while True:
            woken = asyncio.Event()
            if self._has(position, lambda woken=woken: loop.call_soon_threadsafe(woken.set)):
                yield self.items[position]
                position += 1
            elif self._closed:
                break
            else:
                await woken.wait()
        if self._error is not None:
            raise self._error

    def _has(self, position: int, wake: Callable[[], object]) -> bool:
        """Return True if the item is there; if it may still come, `wake` is called after the next change."""
        with self._lock:
            if position < len(self.items):
                return True
            if not self._closed:
                self._waiting.append(wake)
            return False
