"""Circuit breakers, as one process knows them: deployments that failed in a row, in whichever worker, are not called for a while;
then one call tries, and its answer lets all call again.

As long as nothing fails nothing is asked of the ledger. Breakers of other workers are heard of on a channel; a message that got
lost costs a call, whose failure tells the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from headrace.errors import Refused
from headrace.ledger.breaker_close import breaker_close
from headrace.ledger.breaker_fail import INTERVAL_MS, MAX_FAILURES, BreakerState, breaker_fail, parse_breaker
from headrace.ledger.breaker_probe import breaker_probe
from headrace.ledger.breaker_record import open_breakers
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.logs import get_logger

log = get_logger("headrace.worker.limits.circuit_breakers")


class CircuitBreakers:
    """The breakers by scope. `clock` counts seconds. It listens to `keys.breakers_channel`."""

    def __init__(self, ledger: Ledger, process: str, *, clock: Callable[[], float] = time.monotonic):
        self._ledger = ledger
        self._process = process
        self._clock = clock
        self._until: dict[str, float] = {}  # of those that are open: when one call may try
        self._failures: dict[str, int] = {}  # in a row, of this process
        self._tasks: set[asyncio.Task[None]] = set()

    def wait_s(self, scope: str) -> float | None:
        """Return the seconds until a call may try the deployment; 0 when the next one may ask (`probe`), None when all may."""
        until = self._until.get(scope)
        return None if until is None else max(0.0, until - self._clock())

    async def probe(self, scope: str) -> str | None:
        """Return the token of the probe where this call may be it, an empty one where all may call; None when it may not."""
        token = secrets.token_hex(8)
        try:
            state = await breaker_probe(self._ledger, scope, token=token)
        except (Refused, *UNAVAILABLE):
            self._until[scope] = (
                self._clock() + INTERVAL_MS / 1000
            )  # nobody else can be asked either: this process tries
            return token
        if state.state == "probe":
            self._until[scope] = self._clock() + state.wait_ms / 1000
            return token
        self._take(scope, state)
        return "" if state.state == "closed" else None

    async def failed(self, scope: str, name: str, probe: str) -> None:
        """Take account of a fault of the deployment, and return when it is known what holds now."""
        failures = self._failures[scope] = self._failures.get(scope, 0) + 1
        was_open = scope in self._until
        try:
            state = await breaker_fail(self._ledger, scope, name, process=self._process, failures=failures, probe=probe)
        except (Refused, *UNAVAILABLE):
            if failures < MAX_FAILURES and not probe:
                return
            state = BreakerState("open", INTERVAL_MS)
        self._take(scope, state)
        if state.state == "open":
            self._failures.pop(scope, None)
            if not was_open:
                log.warning("deployment not called for a while: its calls fail", deployment=name, ms=state.wait_ms)

    def answered(self, scope: str, name: str, probe: str) -> None:
        """Take account of an answer. It costs nothing where nothing has failed."""
        if not probe and self._failures.pop(scope, None) is None:
            return
        self._failures.pop(scope, None)
        if probe:
            self._until.pop(scope, None)
            log.info("deployment is called again", deployment=name)
        self._tell(breaker_close(self._ledger, scope, process=self._process, probe=probe))

    def _take(self, scope: str, state: BreakerState) -> None:
        if state.state == "open":
            self._until[scope] = self._clock() + state.wait_ms / 1000
        else:
            self._until.pop(scope, None)

    def _tell(self, move: Coroutine[Any, Any, object]) -> None:
        async def tell() -> None:
            with contextlib.suppress(Refused, *UNAVAILABLE):  # the next one that tries tells it
                await move

        self._keep(tell())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        with contextlib.suppress(Refused, *UNAVAILABLE):
            for record in await open_breakers(self._ledger):
                self._until[record.scope] = self._clock() + record.wait_ms / 1000

    # Of the channel

    def on_confirmed(self) -> None:
        self._keep(self._read())

    def on_message(self, payload: bytes) -> None:
        told = parse_breaker(payload)
        if told is None:
            return
        scope, wait_ms = told
        if wait_ms is None:
            self._until.pop(scope, None)
            self._failures.pop(scope, None)
        else:
            self._until[scope] = self._clock() + wait_ms / 1000

    def on_failure(self, error: BaseException) -> None:
        log.error("breakers of other workers are heard of late", error=type(error).__name__)
