"""Fair queue: those who wait take turns by party, each as often as its weight; within a party the lowest rank goes first.

Stride scheduling: a party's turn is paid for with `1 / weight`, and who has paid least is next. A party that comes anew begins
where the others are: what it did not use before is not saved up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
MAX_IDLE_PARTIES = 1000


class Waiting(NamedTuple, Generic[T]):
    """One who waits: its place in the queue."""

    rank: int
    order: int
    party: str
    weight: int
    item: T


class FairQueue(Generic[T]):
    """Waiters by party; `pop` gives the next one of those of whom `is_waiting` is true."""

    def __init__(self, is_waiting: Callable[[T], bool]) -> None:
        self._is_waiting = is_waiting
        self._order = count()
        self._paid: dict[str, float] = {}
        self._parties: dict[str, list[Waiting[T]]] = {}
        self._turns: list[tuple[float, int, str]] = []  # of every party that waits, once
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, item: T, *, party: str = "", weight: int = 1, rank: int = 0) -> None:
        waiting = Waiting(rank, next(self._order), party, max(1, weight), item)
        waiters = self._parties.get(party)
        if waiters is not None:
            heappush(waiters, waiting)
            return
        self._parties[party] = [waiting]
        paid = self._paid[party] = max(self._paid.get(party, 0.0), self._now)
        heappush(self._turns, (paid, waiting.order, party))

    def pop(self) -> Waiting[T] | None:
        """Return the next waiter; None when nobody waits."""
        while self._turns:
            paid, _, party = heappop(self._turns)
            waiting = self._next_of(party)
            if waiting is not None:
                self._now = paid
                self._turn_taken(waiting)
                return waiting
        return None

    def pop_of(self, party: str) -> Waiting[T] | None:
        """Return the next waiter of one party, as its turn; None when none of it waits."""
        if party not in self._parties:
            return None
        self._turns = [turn for turn in self._turns if turn[2] != party]
        heapify(self._turns)
        waiting = self._next_of(party)
        if waiting is not None:
            self._turn_taken(waiting)
        return waiting

    def _next_of(self, party: str) -> Waiting[T] | None:
        """Take the next of a party out. Those who have left wait no more, and cost their party no turn."""
        waiters = self._parties[party]
        while waiters:
            waiting = heappop(waiters)
            if self._is_waiting(waiting.item):
                return waiting
        del self._parties[party]
        return None

    def _turn_taken(self, waiting: Waiting[T]) -> None:
        party = waiting.party
        self._paid[party] = self._paid.get(party, self._now) + 1 / waiting.weight
        if self._parties[party]:
            heappush(self._turns, (self._paid[party], waiting.order, party))
        else:
            del self._parties[party]
            self._forget()

    def __iter__(self) -> Iterator[Waiting[T]]:
        """Iterate over all who wait, in no order."""
        return iter([each for waiters in self._parties.values() for each in waiters])

    def in_order(self) -> Iterator[Waiting[T]]:
        """Iterate over those who wait as `pop` would return them, were nobody to come or to leave."""
        turns = list(self._turns)
        waiters: dict[str, Iterator[Waiting[T]]] = {}
        while turns:
            paid, _, party = turns[0]
            if party not in waiters:
                waiters[party] = iter(sorted(self._parties[party]))
            waiting = next((each for each in waiters[party] if self._is_waiting(each.item)), None)
            if waiting is None:
                heappop(turns)
            else:
                yield waiting
                heapreplace(turns, (paid + 1 / waiting.weight, waiting.order, party))

    def _forget(self) -> None:
        """Forget parties that owe nothing any more."""
        if len(self._paid) > MAX_IDLE_PARTIES + len(self._parties):
            now = self._now if self._turns else float("inf")
            self._paid = {party: paid for party, paid in self._paid.items() if paid > now or party in self._parties}
