"""The spending of one attempt at a record: its bill, its calls in flight, and its reserve where a budget holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.wire.call_cost import CallCost

from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace_worker.limits.token_estimate import characters_of
from headrace_worker.spending.bill import Bill
from headrace_worker.spending.worst_case import NoBound, worst_cost

Reserve = Callable[[int, int], Awaitable[None]]
"""Reserves nano-USD for a call of the attempt with this epoch. Raises `Deferred`, or `CallError` with the code `budget`."""


class CallCharge:
    """One call that may have to be paid: `begun` once its request leaves, `cost` when it is over."""

    __slots__ = ("_job", "_provider", "_spending", "begun", "cost", "reserved")

    def __init__(self, spending: Spending, provider: ChatCompletion, job: Job, reserved: int):
        self._spending = spending
        self._provider = provider
        self._job = job
        self.reserved = reserved
        self.begun = False
        self.cost: CallCost | None = None

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self._spending.begin(self._provider, self._job)

    def tell(self, cost: CallCost) -> None:
        self.cost = cost

    def close(self) -> bool:
        """Put it on the bill. Returns False for a call that was not made: its reserve is then for the next one."""
        if not self.begun:
            return False
        self._spending.end(self._provider, self._job, self.cost, self.reserved)
        return True


class Spending:
    """What an attempt spends. At most `width` calls of it are in flight; `reserve` holds its budgets, None: it has none."""

    def __init__(self, epoch: int = 0, *, width: int = 1, reserve: Reserve | None = None, unpriced: bool = False):
        self.bill = Bill(epoch)
        self.width = width
        self.reserve = reserve
        self.on_unbounded: Callable[[str], Awaitable[Exception]] | None = None
        """Told why no budget can hold for a call; returns what to raise instead of it."""
        self.on_first_call: Callable[[], None] | None = None
        """Called when the first call begins: from then on there is a `risk`."""
        self._unpriced = unpriced  # calls without a known price are allowed within a budget, and count for nothing
        self._in_flight = 0
        self._largest = -1  # characters of the request with the highest worst case so far
        self._worst = 0
        self._written = 0

    async def reserved(self, epoch: int, provider: ChatCompletion, job: Job) -> int:
        """Reserve the worst case of a call, where there is a budget, and return it. Raises what `Reserve` does."""
        if self.reserve is None:
            return 0
        try:
            worst = worst_cost(provider, job)
        except NoBound as unbounded:
            if self._unpriced:
                return 0
            if self.on_unbounded is not None:
                raise await self.on_unbounded(str(unbounded)) from None
            raise CallError("budget", f"within a budget: {unbounded}") from None
        await self.reserve(epoch, worst)
        return worst

    def give_back(self, reserved: int) -> None:
        self.bill.settled += reserved

    def begin(self, provider: ChatCompletion, job: Job) -> None:
        self._in_flight += 1
        if provider.profile() is not None and (size := characters_of(job)) > self._largest:
            self._largest = size
            self._worst = max(self._worst, known_worst(provider, job))
        if self.on_first_call is not None:
            self.on_first_call()
            self.on_first_call = None

    def end(self, provider: ChatCompletion, job: Job, cost: CallCost | None, reserved: int) -> None:
        self._in_flight -= 1
        cost = cost or CallCost(None, None, is_final=False, is_free=False)
        is_open = not cost.is_free and not (cost.is_final and cost.cost is not None)
        worst = reserved or (known_worst(provider, job) if is_open else 0)
        self.bill.add(cost, worst)
        self.bill.settled += reserved

    @property
    def words(self) -> str:
        """The bill as the ledger takes it."""
        return str(self.bill)

    def written(self, bill: str) -> None:
        """Note that the ledger has this bill."""
        if bill == str(self.bill):
            self._written = self.bill.known

    @property
    def is_unwritten(self) -> bool:
        return self._written != self.bill.known

    @property
    def risk(self) -> str:
        """The calls whose cost nobody hears of should the process end now, and what they have cost at most: `3 120000`."""
        if not self._in_flight and not self.is_unwritten:
            return ""
        return f"{self._in_flight} {self.width * self._worst + self.bill.known - self._written}"


def known_worst(provider: ChatCompletion, job: Job) -> int:
    """Return the worst case of a call, 0 where nothing bounds it."""
    try:
        return worst_cost(provider, job)
    except NoBound:
        return 0
