"""Slots for the calls in flight of a process: the oldest attempt goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Slots:
    """`limit` slots. Whoever waits with the lowest `rank` gets the next free one; equals in the order they came.

    A shard ranks by its epoch, so that those begun first end first, instead of all of them together: the rows that
    lie in Redis are those of the few shards that are really under way.
    """

    def __init__(self, limit: int):
        self._free = limit
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def hold(self, rank: int) -> Slot:
        """Return a context that waits for a slot and holds it."""
        return Slot(self, rank)

    def dismiss(self, reason: Callable[[], Exception]) -> None:
        """Give everybody who waits the exception that `reason` makes instead of a slot."""
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(reason())

    async def take(self, rank: int) -> None:
        """Wait for a slot. Give it back with `give`."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # the slot was handed over in the same moment
                self.give()
            raise

    def give(self) -> None:
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slot:
    """A slot that is held for a block. No generator: one is entered for every call."""

    __slots__ = ("_rank", "_slots")

    def __init__(self, slots: Slots, rank: int):
        self._slots = slots
        self._rank = rank

    async def __aenter__(self) -> None:
        await self._slots.take(self._rank)

    async def __aexit__(self, *error: object) -> None:
        self._slots.give()
