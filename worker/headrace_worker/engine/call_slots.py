"""Slots for the calls in flight of a process: parties take turns, and within a party the oldest attempt goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace_worker.limits.fair_queue import FairQueue


class Slots:
    """`limit` slots. Who waits takes turns by party and weight; of one party whoever has the lowest `rank` gets the next free
    one, equals in the order they came.

    A shard ranks by its epoch, so that those begun first end first, instead of all of them together: the rows that
    lie in Redis are those of the few shards that are really under way.

    Beyond the limit there are `extra` slots for parties that hold less than their part of it: a party that comes while others'
    slow calls are in all slots does not wait for one of them to end.
    """

    def __init__(self, limit: int, *, extra: int = 0):
        self._limit = limit
        self._most = limit + extra
        self._used = 0
        self._held: dict[str, int] = {}  # by party
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue(lambda turn: not turn.done())

    def hold(self, rank: int, party: str = "", weight: int = 1) -> Slot:
        """Return a context that waits for a slot and holds it."""
        return Slot(self, rank, party, weight)

    def dismiss(self, reason: Callable[[], Exception]) -> None:
        """Give everybody who waits the exception that `reason` makes instead of a slot."""
        for waiting in self._waiting:
            if not waiting.item.done():
                waiting.item.set_exception(reason())

    async def take(self, rank: int, party: str = "", weight: int = 1) -> None:
        """Wait for a slot. Give it back with `give`."""
        if self._used < self._limit or (self._used < self._most and self._is_small(party)):
            self._take(party)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(turn, party=party, weight=weight, rank=rank)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # the slot was handed over in the same moment
                self.give(party)
            raise

    def give(self, party: str = "") -> None:
        self._used -= 1
        left = self._held[party] - 1
        if left:
            self._held[party] = left
        else:
            del self._held[party]
        while self._used < self._limit and (waiting := self._waiting.pop()) is not None:
            self._hand_over(waiting.party, waiting.item)
        while (
            self._used < self._most and self._is_small(party) and (waiting := self._waiting.pop_of(party)) is not None
        ):
            self._hand_over(party, waiting.item)

    def _take(self, party: str) -> None:
        self._used += 1
        self._held[party] = self._held.get(party, 0) + 1

    def _hand_over(self, party: str, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._take(party)
            turn.set_result(None)

    def _is_small(self, party: str) -> bool:
        """Return True if a party holds less than its part. One that is alone has all."""
        held = self._held.get(party, 0)
        parties = len(self._held) + (not held)
        return parties > 1 and held < self._limit // parties


class Slot:
    """A slot that is held for a block. No generator: one is entered for every call."""

    __slots__ = ("_party", "_rank", "_slots", "_weight")

    def __init__(self, slots: Slots, rank: int, party: str, weight: int):
        self._slots = slots
        self._rank = rank
        self._party = party
        self._weight = weight

    async def __aenter__(self) -> None:
        await self._slots.take(self._rank, self._party, self._weight)

    async def __aexit__(self, *error: object) -> None:
        self._slots.give(self._party)
