"""Fair queue: those who wait take turns by party, each as often as its weight; within a party the lowest rank goes first.

Stride scheduling: a party's turn is paid for with `1 / weight`, and who has paid least is next. A party that comes anew begins
where the others are: what it did not use before is not saved up.
"""

from __future__ import annotations

from heapq import heappop, heappush
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
    """Waiters by party. `pop` gives the next one, `restore` takes back those that could not be served."""

    def __init__(self) -> None:
        self._order = count()
        self._paid: dict[str, float] = {}
        self._parties: dict[str, list[Waiting[T]]] = {}
        self._turns: list[tuple[float, int, str]] = []  # of every party that waits, once
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, item: T, *, party: str = "", weight: int = 1, rank: int = 0) -> None:
        self._push(Waiting(rank, next(self._order), party, max(1, weight), item))

    def pop(self) -> Waiting[T] | None:
        """Return the next waiter; None when nobody waits."""
        while self._turns:
            paid, _, party = heappop(self._turns)
            waiters = self._parties.get(party)
            if not waiters:
                self._parties.pop(party, None)
                continue
            waiting = heappop(waiters)
            self._now = paid
            self._paid[party] = paid + 1 / waiting.weight
            if waiters:
                heappush(self._turns, (self._paid[party], waiting.order, party))
            else:
                del self._parties[party]
                self._forget()
            return waiting
        return None

    def restore(self, waiting: Waiting[T]) -> None:
        """Put back one that `pop` gave, at its place; its party is repaid."""
        party = waiting.party
        self._paid[party] = self._paid.get(party, self._now) - 1 / waiting.weight
        waiters = self._parties.get(party)
        if waiters is not None:
            self._turns = [turn for turn in self._turns if turn[2] != party]
            heappush(waiters, waiting)
        else:
            self._parties[party] = [waiting]
        heappush(self._turns, (self._paid[party], waiting.order, party))

    def __iter__(self):  # in no order
        return iter([each for waiters in self._parties.values() for each in waiters])

    def _push(self, waiting: Waiting[T]) -> None:
        waiters = self._parties.get(waiting.party)
        if waiters is not None:
            heappush(waiters, waiting)
            return
        self._parties[waiting.party] = [waiting]
        paid = self._paid[waiting.party] = max(self._paid.get(waiting.party, 0.0), self._now)
        heappush(self._turns, (paid, waiting.order, waiting.party))

    def _forget(self) -> None:
        """Forget parties that owe nothing any more."""
        if len(self._paid) > MAX_IDLE_PARTIES + len(self._parties):
            now = self._now if self._turns else float("inf")
            self._paid = {party: paid for party, paid in self._paid.items() if paid > now or party in self._parties}
