"""Budget gate: the calls of one record wait here until what they can cost is reserved, many with one request to the ledger.

A call that does not fit while others are under way waits for what these give back. One that cannot fit at all pauses its batch,
or ends its job; for the day's budget a batch waits until it is raised, or the next day has begun.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from time import monotonic

from headrace.errors import CallError
from headrace.ledger.claim import Claimed
from headrace.ledger.keys import batch_of
from headrace.ledger.pause import pause
from headrace.ledger.reserve import Reserved, reserve
from headrace.ledger.script import Ledger
from headrace.ledger.stop_reason import StopReason
from headrace.spend.money import usd_text
from headrace.waiting import retry_write
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.spending.spending import Spending
from headrace_worker.worker_process import WorkerProcess

MAX_BLOCK = 64
POLL_S = 0.05
MAX_POLL_S = 0.5
MAX_WAIT_S = 2.0
"""A longer wait is for the ledger: who waits gives up its place."""
AGAIN_S = 1.0
DAY_S = 60.0
"""Seconds after which a batch looks again whether the day's budget has been raised, or the day is over."""
LIMITS = {"batch": "the batch's budget", "tenant": "the tenant's budget", "day": "the day's budget"}
RAISE = {
    "batch": "headrace batches budget ID USD",
    "tenant": "headrace spend limit --total USD",
    "day": "headrace spend limit --day USD",
}


class BudgetWaiter:
    """One call that waits until its worst case is reserved."""

    __slots__ = ("amount", "began_s", "epoch", "turn")

    def __init__(self, epoch: int, amount: int, turn: asyncio.Future[None]):
        self.epoch = epoch
        self.amount = amount
        self.began_s = monotonic()
        self.turn = turn


class BudgetGate:
    """The gate of one record. A call of a job that cannot fit fails; of a shard it is put off, and `on_paused` is told when its
    batch was paused for it. `on_unused` is told of what was reserved for a call that is not made after all."""

    def __init__(
        self,
        ledger: Ledger,
        record_id: str,
        *,
        on_paused: Callable[[], None] | None,
        on_unused: Callable[[int], None],
        is_draining: Callable[[], bool],
    ):
        self._ledger = ledger
        self._record_id = record_id
        self._on_paused = on_paused
        self._on_unused = on_unused
        self._is_draining = is_draining
        self._queue: deque[BudgetWaiter] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def enter(self, epoch: int, amount: int) -> None:
        """Wait until `amount` is reserved. Raises `Deferred`, or `CallError` with the code `budget`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(BudgetWaiter(epoch, amount, turn))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._on_unused(amount)
            raise

    async def _run(self) -> None:
        """Ask for all who wait, until nobody does."""
        wait_s = POLL_S
        await asyncio.sleep(0)  # those that begin together ask together
        while block := self._next():
            if self._is_draining():
                self._dismiss(Deferred(0, DRAINING))
                return
            try:
                reserved = await self._ask(block)
            except Exception as error:
                self._dismiss(error)
                return
            for waiter in block[: reserved.count]:
                self._queue.remove(waiter)
                if waiter.turn.done():
                    self._on_unused(waiter.amount)
                else:
                    waiter.turn.set_result(None)
            if reserved.outcome == "granted":
                wait_s = POLL_S
            elif reserved.outcome == "exhausted":
                self._dismiss(self._exhausted(reserved))
                return
            elif monotonic() - block[0].began_s > MAX_WAIT_S:
                detail = f"what calls under way may cost is all of {LIMITS[reserved.scope]}"
                self._dismiss(Deferred(AGAIN_S, "budget", detail, of_all_tiers=True))
                return
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 1.5, MAX_POLL_S)

    async def _ask(self, block: list[BudgetWaiter]) -> Reserved:
        amounts, token = [each.amount for each in block], secrets.token_hex(8)
        return await retry_write(lambda: reserve(self._ledger, self._record_id, block[0].epoch, amounts, token=token))

    def _next(self) -> list[BudgetWaiter]:
        """Return who asks next: those of one epoch, in the order in which they came."""
        waiting = [each for each in self._queue if not each.turn.done()]
        self._queue = deque(waiting)
        return [each for each in waiting[:MAX_BLOCK] if each.epoch == waiting[0].epoch]

    def _exhausted(self, reserved: Reserved) -> Exception:
        left = max(0, reserved.limit - reserved.spent)
        detail = (
            f"the next call may cost {usd_text(reserved.amount)} USD, and of {LIMITS[reserved.scope]} of "
            f"{usd_text(reserved.limit)} USD {usd_text(left)} USD is left"
        )
        if self._on_paused is None:
            ways = f"raise it ({RAISE[reserved.scope]}), or set a smaller max_tokens"
            return CallError("budget", f"{detail}: {ways}")
        if reserved.scope == "day":
            detail += f": goes on tomorrow (UTC), or soon after {RAISE['day']}"
            return Deferred(DAY_S, "budget", detail, of_all_tiers=True)
        self._on_paused()
        return Deferred(0, DRAINING)

    def _dismiss(self, error: Exception) -> None:
        waiting, self._queue = self._queue, deque()
        for waiter in waiting:
            if not waiter.turn.done():
                waiter.turn.set_exception(error)


def spending_of(process: WorkerProcess, claimed: Claimed, *, width: int = 1) -> Spending:
    """Return the spending of an attempt, within the budgets that hold for its record."""
    spending = Spending(claimed.epoch, width=width, unpriced=claimed.allows_unpriced)
    if width > 1 and not claimed.is_budgeted:  # of one call alone the next beat tells
        spending.on_first_call = process.leases.beat_soon
    if claimed.is_budgeted:
        batch_id = batch_of(claimed.record_id)

        def on_paused() -> None:
            process.stop_batch(batch_id, StopReason.PAUSED)

        async def on_unbounded(why: str) -> Exception:
            reason = f"budget: none can hold for {why} (to go on: headrace batches budget ID USD --allow-unpriced)"
            await retry_write(lambda: pause(process.ledger, batch_id, reason=reason))
            on_paused()
            return Deferred(0, DRAINING)

        if batch_id != "-":
            spending.on_unbounded = on_unbounded

        gate = BudgetGate(
            process.ledger,
            claimed.record_id,
            on_paused=None if batch_id == "-" else on_paused,
            on_unused=spending.give_back,
            is_draining=process.stopping.is_set,
        )
        spending.reserve = gate.enter
    return spending
