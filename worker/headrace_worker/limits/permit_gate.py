"""Permit gate: calls of one process at one model wait here for permits of the ledger, which are asked for in blocks.

One request to the ledger is under way at a time; it asks for all who wait, and settles what has ended meanwhile. A permit is good
for a moment: one that was not used by then is given back, so that calls which were held up somewhere do not begin all at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from headrace.errors import Refused
from headrace.ledger.limit_take import CallClass, Granted, Settled
from headrace.ledger.script import UNAVAILABLE
from headrace.logs import get_logger
from headrace.text.safe_errors import kind_of
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.limits.call_turn import NO_TURN, CallTurn
from headrace_worker.limits.fair_queue import FairQueue

log = get_logger("headrace.worker.limits.permit_gate")

MAX_BLOCK = 64
MAX_WAIT_S = 2.0
"""A longer wait is for the ledger: who waits gives up its place."""
MAX_PERMIT_AGE_S = 0.4
"""Seconds, counted from before it was asked for, after which a permit that is not used is given back."""
MIN_POLL_S = 0.01
AGAIN_S = 0.25
"""Seconds between two requests while Redis is away."""
SETTLE_S = 0.05
MAX_SHARD_PARK_S = 10.0
MIN_PARK_S = 0.5
SHARD_LEAD_S = 1.0
MAX_STAYING_BATCHES = 3
MAX_SETTLED = 500

Take = Callable[[list[int], str, list[Settled]], Awaitable[Granted]]


ShardKey = tuple[int, str]
"""A shard among those that wait: its rank and its id, for several may have been claimed in one millisecond."""
NO_SHARD: ShardKey = (0, "")


class Waiter:
    """One call that waits for its permit."""

    __slots__ = ("began_s", "key", "tokens", "turn")

    def __init__(self, tokens: int, key: ShardKey, began_s: float, turn: asyncio.Future[Permit]):
        self.tokens = tokens
        self.key = key
        self.began_s = began_s
        self.turn = turn


class Permit:
    """Permission for one call. `used` says what it took; `close` settles it."""

    __slots__ = ("_closed", "_expires_s", "_gate", "_granted_us", "_tokens", "_used", "begun")

    def __init__(self, gate: PermitGate, granted_us: int, tokens: int, expires_s: float):
        self._gate = gate
        self._granted_us = granted_us
        self._tokens = tokens
        self._expires_s = expires_s
        self._used: int | None = None
        self._closed = False
        self.begun = False

    @property
    def is_stale(self) -> bool:
        return not self.begun and self._gate.clock() > self._expires_s

    def used(self, tokens: int) -> None:
        self._used = tokens

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self.begun:
            self._gate.settle(Settled(self._granted_us, -1, -self._tokens))
        elif self._used is None or self._used == self._tokens:
            self._gate.settle(None)
        else:
            self._gate.settle(Settled(self._granted_us, 0, self._used - self._tokens))


class PermitGate:
    """The gate of one model. `take` asks the ledger; `on_held(delta)` is told how many calls are in flight more, or fewer;
    `name` is the deployment's for people. In a `bulk` process those who wait are items of shards, each shard with a key of its
    own: a shard is sent away as a whole, when no item of it has got a permit, or will get one, for `MAX_WAIT_S` and others of
    its batch come first. So the few places of a process are left to the shards of other batches."""

    def __init__(
        self,
        name: str,
        call_class: CallClass,
        take: Take,
        on_held: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name = name
        self.clock = clock
        self.waits_for_calls = False  # calls in flight are limited: each that ends may let another begin
        self._call_class: CallClass = call_class
        self._take = take
        self._on_held = on_held
        self._queue: FairQueue[Waiter] = FairQueue(lambda waiter: not waiter.turn.done())
        self._settled: list[Settled] = []
        self._served_s: dict[ShardKey, float] = {}  # by key: when one of it was served last, or came first
        self._keys: dict[ShardKey, int] = {}  # how many wait of each key
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._draining = False

    async def enter(self, tokens: int, of: CallTurn = NO_TURN, *, rank: int = 0) -> Permit:
        """Wait for the permit of a call of so many tokens. Raises `Deferred`."""
        if self._draining:
            raise Deferred(0, DRAINING)
        now = self.clock()
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        key = (rank, of.shard) if self._call_class == "bulk" else NO_SHARD
        self._keys[key] = self._keys.get(key, 0) + 1
        self._served_s.setdefault(key, now)
        self._queue.add(Waiter(tokens, key, now, turn), party=of.party, weight=of.weight, rank=rank)
        self._start()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().close()
            raise
        finally:
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
                self._served_s.pop(key, None)

    @property
    def is_idle(self) -> bool:
        return self._pump is None or self._pump.done()

    def drain(self) -> None:
        """Drain: everybody who waits is sent away at once, and nobody waits any more."""
        self._draining = True
        for waiting in self._queue:
            dismiss(waiting.item, Deferred(0, DRAINING))
        self._wake.set()

    def settle(self, settled: Settled | None) -> None:
        """Take account of a call that is over."""
        self._on_held(-1)
        if settled is not None and len(self._settled) < MAX_SETTLED:
            self._settled.append(settled)
        if settled is not None or self.waits_for_calls:
            self._start()
            if self.waits_for_calls:
                self._wake.set()

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Ask until nobody waits and all is settled."""
        if not self._queue:
            await asyncio.sleep(SETTLE_S)  # what ends next goes along
        while True:
            # Whose turn it is is settled when it is known how many may begin: others may have come by then.
            block = [each.item.tokens for each in islice(self._queue.in_order(), MAX_BLOCK)]
            settled, self._settled = self._settled, []
            self._wake.clear()
            asked_s, token = self.clock(), secrets.token_hex(8)
            try:
                granted = await self._take(block, token, settled)
            except Exception as error:
                # Whatever it is, nobody who waits may be forgotten; calls in flight go on.
                if isinstance(error, (Refused, *UNAVAILABLE)):
                    log.debug("no permits; they are asked for again", provider=self.name, error=kind_of(error))
                else:
                    log.error("no permits; they are asked for again", provider=self.name, error=kind_of(error))
                self._settled = [*settled, *self._settled][:MAX_SETTLED]
                await self._sleep(AGAIN_S)
                continue
            self._serve(block, granted, asked_s)
            if not self._queue and not self._settled and not self._wake.is_set():
                return
            await self._sleep(max(MIN_POLL_S, granted.wait_us / 1e6) if self._queue else SETTLE_S)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, MAX_WAIT_S)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _serve(self, block: list[int], granted: Granted, asked_s: float) -> None:
        now, tokens, unused = self.clock(), sum(block[: granted.count]), granted.count
        while unused and (waiting := self._queue.pop()) is not None:
            waiter = waiting.item
            unused -= 1
            tokens -= waiter.tokens
            self._on_held(1)
            self._served_s[waiter.key] = now
            waiter.turn.set_result(Permit(self, granted.at_us, waiter.tokens, asked_s + MAX_PERMIT_AGE_S))
        if unused or tokens:  # others than those that it was asked for
            self._settled.append(Settled(granted.at_us, -unused, -tokens))
        if self._draining:
            self.drain()
        elif self._queue and granted.wait_us:
            self._send_away(granted, now)

    def _send_away(self, granted: Granted, now: float) -> None:
        """Send away who would wait for long."""
        first_s, pace_s = granted.wait_us / 1e6, granted.pace_us / 1e6
        detail, next_shards, places = self._reason(granted), self._next_shards(), dict[ShardKey, int]()
        for place, waiting in enumerate(list(self._queue.in_order())):
            waiter = waiting.item
            left_s = first_s + place * pace_s
            if self._call_class == "bulk":
                waited_s = now - self._served_s.get(waiter.key, now)
                left_s = first_s + places.setdefault(waiter.key, place) * pace_s  # until its first item's turn
                is_soon = max(waited_s, left_s) < MAX_WAIT_S or waiter.key in next_shards
                if first_s < MAX_WAIT_S and is_soon:
                    continue
                # Back before that: a batch of which nothing waits here loses its part to the others.
                left_s = max(first_s, min(left_s - SHARD_LEAD_S, MAX_SHARD_PARK_S))
            elif left_s < MAX_WAIT_S and now - waiter.began_s < MAX_WAIT_S:
                continue
            dismiss(waiter, Deferred(max(left_s, MIN_PARK_S), "rate_limited", detail, of_all_tiers=True))

    def _next_shards(self) -> set[ShardKey]:
        """Return the shards that stay however long they wait: of each batch the one that is worked on, and the next."""
        shards: dict[str, set[ShardKey]] = {}
        for waiting in self._queue:
            if waiting.item.turn.done():
                continue
            shards.setdefault(waiting.party, set()).add(waiting.item.key)
        if len(shards) > MAX_STAYING_BATCHES:  # or no place would be left for batches elsewhere
            return set()
        return {key for keys in shards.values() for key in sorted(keys)[:2]}

    def _reason(self, granted: Granted) -> str:
        words = {
            "requests": f"{granted.limit:,} requests a minute",
            "tokens": f"{granted.limit:,} tokens a minute",
            "in_flight": f"{granted.limit:,} calls in flight",
        }
        if granted.reason in words:
            return f"{self.name} is at its limit of {words[granted.reason]}"
        if granted.reason == "held":
            return f"{self.name} asked to wait"
        return f"{self.name} is at its limit; calls of single jobs go first"


def dismiss(waiter: Waiter, deferred: Deferred) -> None:
    if not waiter.turn.done():
        waiter.turn.set_exception(deferred)
