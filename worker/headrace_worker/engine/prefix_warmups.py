"""Prefix warm-ups: where cached tokens are cheaper, calls that share a prefix wait until the first of them has been answered.

Sent together, each of them would pay for the whole prefix: the provider has it cached only after the first answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256

from headrace_providers.chat_completion import ChatCompletion

from headrace.ledger.prefix_warmup import LEASE_MS, WARM_MS, begin_warmup, end_warmup
from headrace.ledger.script import UNAVAILABLE, Ledger

LOOK_S = 0.1
MAX_PREFIXES = 10_000


def is_worth_it(provider: ChatCompletion) -> bool:
    """Return True if tokens that the provider has cached are known to cost less."""
    profile = provider.profile()
    if profile is None or profile.input is None or profile.cache_read is None:
        return False
    return profile.cache_read < profile.input


class PrefixWarmups:
    """The prefixes that calls of this process begin with. `sleep` waits without a slot, and raises when the process drains."""

    def __init__(
        self,
        ledger: Ledger,
        sleep: Callable[[float], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ledger = ledger
        self._sleep = sleep
        self._clock = clock
        self._warm_until: dict[str, float] = {}
        self._leading: dict[str, asyncio.Future[None]] = {}

    def is_warm(self, provider: ChatCompletion, prefix: str) -> bool:
        """Return True if calls with this prefix need not wait; it stays so as long as they come."""
        scope, now = self._scope(provider, prefix), self._clock()
        if self._warm_until.get(scope, 0.0) <= now:
            return False
        self._warm_until[scope] = now + WARM_MS / 1000
        return True

    @contextlib.asynccontextmanager
    async def turn(self, provider: ChatCompletion, prefix: str) -> AsyncIterator[None]:
        """Wait until a call with this prefix may go out: the first of all, one after it was answered, or two minutes later."""
        scope, until_s = self._scope(provider, prefix), self._clock() + LEASE_MS / 1000
        while (first := self._leading.get(scope)) is not None and self._clock() < until_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_s - self._clock()):
                    await asyncio.shield(first)
            await self._sleep(0)  # it may have been long, and this process may stop
        if first is not None:
            yield
            return
        if self._warm_until.get(scope, 0.0) > self._clock():
            yield
            return
        done = self._leading[scope] = asyncio.get_running_loop().create_future()
        leads = is_warm = False
        try:
            leads = await self._lead(scope)
            is_warm = not leads
            if leads:
                yield
                is_warm = True
        finally:
            if is_warm:
                if len(self._warm_until) >= MAX_PREFIXES:
                    self._warm_until.clear()
                self._warm_until[scope] = self._clock() + WARM_MS / 1000
            del self._leading[scope]
            done.set_result(None)
            if leads:
                with contextlib.suppress(*UNAVAILABLE):  # then its lease runs out
                    await asyncio.shield(end_warmup(self._ledger, scope, is_warm=is_warm))
        if not leads:
            yield

    async def _lead(self, scope: str) -> bool:
        """Wait while a call of another process is the first; return True if this one is."""
        owner = secrets.token_hex(8)
        while True:
            try:
                state = await begin_warmup(self._ledger, scope, owner=owner)
            except UNAVAILABLE:
                return False  # who else calls is not known: nobody waits
            if state != "wait":
                return state == "lead"
            await self._sleep(LOOK_S)

    @staticmethod
    def _scope(provider: ChatCompletion, prefix: str) -> str:
        place = f"{provider.facts.name}\0{provider.base_url}\0{provider.model_id}\0{prefix}"
        return sha256(place.encode(errors="replace")).hexdigest()[:32]
