"""Deployment hold: a 429, or a `Retry-After`, is the deployment's and not the item's. Nobody in this process calls the
deployment until then; one call goes first, and the rest follow when it succeeds (half-open).

A deployment is what has limits of its own: a provider at an address with a credential. Whoever may not call it yet gets
`Deferred`, gives every slot back and comes again; only what is over in a moment is waited for here, without a slot.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable

from headrace.errors import CallError, HeadraceError
from headrace.logs import get_logger

log = get_logger("headrace.worker.engine.deployment_hold")

FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
"""Without a hint the wait is anything up to `FIRST_WAIT_S`, doubled with each refusal in a row, `MAX_WAIT_S` at most."""
MAX_LOOP_WAIT_S = 0.25
"""A hold that is over so soon is waited for on the loop: parking would take as long."""
MAX_PROBE_WAIT_S = 2.0
MAX_PROBE_WAITERS = 64
PROBE_PARK_S = 0.5
RETURNS_PER_S = 50.0
MAX_SPREAD_S = 300.0
"""Records that were deferred come back one after the other: to claim one and park it again costs some milliseconds, and whoever
calls another deployment would wait behind all of them."""
MAX_UNPROVEN = 8
"""Batch items in flight at a deployment that has not answered yet in this process: a wrong key costs a handful of calls."""
DRAINING = "draining"

PROVEN = frozenset({"refusal", "truncated", "content_filter", "invalid_output", "empty_output"})
"""Failures of the answer: the deployment did answer."""


class Deferred(Exception):
    """The next call has to wait `delay_s`: give the slot up and come back. `reason` is a code, `detail` for people. What is
    `of_all_tiers` holds for calls in any service tier: another one is no way out."""

    def __init__(self, delay_s: float, reason: str, detail: str = "", *, of_all_tiers: bool = False):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.delay_s = delay_s
        self.reason = reason
        self.detail = detail or reason
        self.of_all_tiers = of_all_tiers


class HeldBack(HeadraceError):
    """A request that was about to leave may not: a hold began since, or its permit is too old."""


class DeploymentHold:
    """One deployment, as this process knows it. `clock` counts seconds, `jitter(a, b)` draws between two numbers."""

    def __init__(
        self,
        provider: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ):
        self.provider = provider
        self.answered = False
        self.draining = False
        self.on_hinted: Callable[[float, str], None] | None = None
        """Told of a wait that the deployment asked for, and of the words for it."""
        self._clock = clock
        self._jitter = jitter
        self._until: float | None = None  # None: open
        self._refusals = 0  # holds in a row, without a success between
        self._reason = self._detail = ""
        self._probe: HeldCall | None = None
        self._unproven = 0
        self._returns_at = 0.0  # when the last of those comes back whom this hold has sent away
        self._waiters: deque[asyncio.Future[None]] = deque()

    def held(self) -> Deferred | None:
        """Return the reason why no call may go out and when to come back; None when a call may go, or the next one would be
        the probe."""
        if self._until is None:
            return None
        wait_s = self._until - self._clock()
        if wait_s > 0:
            return self._defer(wait_s, alone=True)
        return None if self._probe is None else self._defer(PROBE_PARK_S, alone=True)

    @property
    def left_s(self) -> float:
        """The seconds for which it is still held; 0 when it is not."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    async def enter(self, *, cautious: bool = False) -> HeldCall:
        """Wait for permission to call, for a moment at most, and take it; `leave()` gives it back.

        Of `cautious` callers `MAX_UNPROVEN` are let in until the deployment has answered once. Raises `Deferred`.
        """
        patience_until: float | None = None
        while True:
            if self._until is None:
                if not cautious or self.answered or self._unproven < MAX_UNPROVEN:
                    return HeldCall(self, place=cautious and not self.answered)
                await self._wait(None)
                continue
            now = self._clock()
            if now >= self._until and self._probe is None:
                self._probe = HeldCall(self, place=cautious and not self.answered, probe=True)
                return self._probe
            if patience_until is None:
                patience_until = now + MAX_PROBE_WAIT_S
            wait_s = self._until - now
            if wait_s > MAX_LOOP_WAIT_S:
                raise self._defer(wait_s, alone=not cautious)
            if now >= patience_until or len(self._waiters) >= MAX_PROBE_WAITERS:
                raise self._defer(max(wait_s, PROBE_PARK_S), alone=not cautious)
            await self._wait(wait_s if wait_s > 0 else patience_until - now)

    def drain(self) -> None:
        """Drain: everybody who waits is sent away at once, and nobody waits any more."""
        self.draining = True
        self._wake()

    def _defer(self, wait_s: float, *, alone: bool) -> Deferred:
        """Return the deferral; `alone`: a record of its own comes back for it (a shard comes back once for all its items)."""
        if alone:
            now = self._clock()
            self._returns_at = min(max(now + wait_s, self._returns_at + 1 / RETURNS_PER_S), now + wait_s + MAX_SPREAD_S)
            wait_s = self._returns_at - now
        return Deferred(wait_s + self._jitter(0, min(1.0, 0.1 * wait_s)), self._reason, self._detail)

    async def _wait(self, at_most_s: float | None) -> None:
        if self.draining:
            raise Deferred(0, DRAINING)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiters.append(turn)
        timer = loop.call_later(at_most_s, wake, turn) if at_most_s is not None else None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake(1)  # it was our turn in the same moment: the next one's now
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if turn in self._waiters:
                self._waiters.remove(turn)
        if self.draining:
            raise Deferred(0, DRAINING)

    def _wake(self, count: int | None = None) -> None:
        while self._waiters and count != 0:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                count = None if count is None else count - 1

    def extend(self, wait_s: float, detail: str) -> None:
        """Hold it for `wait_s` at least, as another process was told."""
        until = self._clock() + wait_s
        if self._until is None or until > self._until:
            self._until, self._probe = until, None
            self._reason, self._detail = "rate_limited", detail
            self._wake()

    # What becomes of a call

    def proven(self) -> None:
        """Record that the deployment answers, whatever it says: batch items need not go a few at a time."""
        if not self.answered:
            self.answered = True
            self._wake()

    def _succeeded(self, call: HeldCall) -> None:
        self.proven()
        if call is self._probe:
            self._until, self._probe, self._refusals = None, None, 0
            self._wake()

    def _refused(self, call: HeldCall, failure: CallError) -> None:
        hint_s, now = failure.retry_after_s or 0.0, self._clock()
        if self._until is not None and call is not self._probe:
            # It went out before the hold began. It is no further refusal, though it may know better how long to wait.
            if now + hint_s > self._until:
                self._until = now + hint_s
                self._hinted(hint_s)
            return
        self._refusals += 1
        self._probe = None
        wait_s = hint_s
        if not hint_s or self._refusals > 1:
            wait_s += self._jitter(0, min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** min(self._refusals - 1, 16)))
        self._until = now + wait_s
        self._reason = failure.code
        said = f"says wait {math.ceil(hint_s)} s" if hint_s else f"answered {failure.status or failure.code}"
        self._detail = f"{self.provider} {said}"
        if math.ceil(wait_s) > math.ceil(hint_s):
            self._detail += f"; next call in {math.ceil(wait_s)} s"
        if self._refusals == 1:
            log.info("deployment held", provider=self.provider, reason=failure.code, seconds=round(wait_s, 1))
        if hint_s:
            self._hinted(hint_s)
        self._wake()

    def _hinted(self, hint_s: float) -> None:
        if self.on_hinted is not None:
            self.on_hinted(hint_s, self._detail)

    def _left(self, call: HeldCall) -> None:
        if call.place:
            self._unproven -= 1
        if call is self._probe:
            self._probe = None  # it failed otherwise, or was cancelled: the next one tries
        self._wake(1)


class HeldCall:
    """Permission for one call at a deployment, and what came of it."""

    __slots__ = ("_hold", "place", "probe")

    def __init__(self, hold: DeploymentHold, *, place: bool, probe: bool = False):
        self._hold = hold
        self.place = place
        self.probe = probe
        hold._unproven += place

    @property
    def void(self) -> bool:
        """A hold began since: the permission is good for nothing."""
        return self._hold._until is not None and self is not self._hold._probe

    def answered(self) -> None:
        """Record an answer of the deployment: all may call."""
        hold = self._hold
        if not hold.answered or hold._probe is self:
            hold._succeeded(self)

    def failed(self, failure: CallError) -> bool:
        """Tell how the call failed; returns whether the deployment is held for it."""
        if is_limit(failure):
            self._hold._refused(self, failure)
            return True
        if failure.code in PROVEN:
            self.answered()
        elif failure.code == "invalid_request":  # who reads a request so far has taken the key
            self._hold.proven()
        return False

    def misconfigured(self) -> None:
        """Record that the key, the model or the address is refused: of what follows, a few at a time until it answers again."""
        self._hold.answered = False

    def leave(self) -> None:
        hold = self._hold
        if self.place or hold._probe is self:
            hold._left(self)


def is_limit(failure: CallError) -> bool:
    """Return True if the failure says that the deployment is to be left alone for a while."""
    return failure.code == "rate_limited" or (failure.retryable and bool(failure.retry_after_s))


def wake(turn: asyncio.Future[None]) -> None:
    """End the wait of whoever awaits `turn`; one that was cancelled stays as it is."""
    if not turn.done():
        turn.set_result(None)


class DeploymentHolds:
    """The holds of one process, by deployment."""

    def __init__(self) -> None:
        self.on_new: Callable[[DeploymentHold, str, str, str], None] | None = None
        """Told of each hold when it is made, with its deployment."""
        self._holds: dict[tuple[str, ...], DeploymentHold] = {}
        self._draining = False

    def of(self, provider: str, base_url: str = "", credential: str = "") -> DeploymentHold:
        """Return the deployment of `provider` at `base_url` with the credential of that name."""
        key = (provider, base_url, credential)
        hold = self._holds.get(key)
        if hold is None:
            hold = self._holds[key] = DeploymentHold(provider)
            hold.draining = self._draining
            if self.on_new is not None:
                self.on_new(hold, provider, base_url, credential)
        return hold

    def drain(self) -> None:
        self._draining = True
        for hold in self._holds.values():
            hold.drain()
