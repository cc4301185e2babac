"""The leases of this process's records. A heartbeat thread with a connection of its own renews them, so that a busy loop is
no dead process, and brings back stop reasons.

It renews only while the loop makes progress (a watchdog, `HEADRACE_LOOP_LIMIT_S`). A blocked loop ends the process, and the
record that blocked it is reported, so that no other is blamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

from headrace.broker.hints import Hints
from headrace.errors import Damaged, Requeued
from headrace.ledger.beat import BEAT_S, beat
from headrace.ledger.claim import LEASE_MS
from headrace.ledger.recover import report_end
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.stop_reason import NOT_OURS, StopReason
from headrace.logs import get_logger

ASK_AFTER_S = LEASE_MS / 1000 * 0.75
"""Seconds after the last successful beat from which on a lease may have expired: calls are confirmed first."""
MIN_BEAT_S = 0.05
"""Seconds between two beats at least, also where one was asked for."""
WATCHDOG_EVERY_S = 10.0
WATCHDOG_GRACE_S = 30.0
EXIT_STUCK = 70

log = get_logger("headrace.worker.leases")

# Counts while the machine is suspended, too: leases run out on the server's clock.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    return time.clock_gettime(CLOCK)


def one_call() -> int:
    return 1


def no_risk() -> str:
    return ""


class LeaseKeeper:
    """Record id → epoch of every attempt of this process, each with its stop callback."""

    def __init__(self, redis_url: str, namespace: str, process: str, *, loop_limit_s: float):
        self._redis_url = redis_url
        self._namespace = namespace
        self._process = process
        self._loop_limit_s = loop_limit_s
        self._epochs: dict[str, int] = {}
        self._stops: dict[str, Callable[[StopReason], None]] = {}
        self._calls: dict[str, Callable[[], int | None]] = {}
        self._risks: dict[str, Callable[[], str]] = {}
        self._unbudgeted = set[str]()
        self._lost: set[str] = set()
        self._good_at_s = now_s()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._turns = 0  # of the process's loop, one for each beat that it heard of
        self._waiting: list[asyncio.Future[None]] = []
        self._looked_s = 0.0  # when the thread last began a beat
        self._is_soon = False

    def add(
        self,
        record_id: str,
        epoch: int,
        stop: Callable[[StopReason], None],
        calls: Callable[[], int | None] = one_call,
        risk: Callable[[], str] = no_risk,
        *,
        is_unbudgeted: bool = False,
    ) -> None:
        """Renew the lease of `record_id` from now on. `calls()` is its number of calls in flight, None when that is not
        known yet, `risk()` what they may have cost. `stop` is called on the loop with the reason from a beat; that a budget was
        set is one for an attempt that is unbudgeted."""
        (self._unbudgeted.add if is_unbudgeted else self._unbudgeted.discard)(record_id)
        self._calls[record_id] = calls
        self._risks[record_id] = risk
        self._stops[record_id] = stop
        self._epochs[record_id] = epoch
        self._lost.discard(record_id)

    def move(self, record_id: str, epoch: int) -> None:
        """Move the lease to another epoch, under which the attempt began anew."""
        if record_id in self._epochs:
            self._epochs[record_id] = epoch

    def remove(self, record_id: str) -> None:
        self._epochs.pop(record_id, None)
        self._stops.pop(record_id, None)
        self._calls.pop(record_id, None)
        self._risks.pop(record_id, None)
        self._unbudgeted.discard(record_id)
        self._lost.discard(record_id)

    def __len__(self) -> int:
        return len(self._epochs)

    async def confirm(self, record_id: str) -> None:
        """Wait until a call for `record_id` may begin. Raises `Requeued` when its lease expired: another worker may have
        it.

        Costs nothing while beats succeed. A process that was suspended beats first, and waits while Redis is unavailable.
        """
        while now_s() - self._good_at_s > ASK_AFTER_S and self._thread is not None:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(heard)
            self._beat_now()
            await heard
        if record_id in self._lost:
            raise Requeued(record_id)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the heartbeat for the attempts on `loop`."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="headrace-leases", daemon=True)
        self._thread.start()

    def beat_soon(self) -> None:
        """Beat within `MIN_BEAT_S`: calls have begun of which the ledger does not know what they may cost."""
        if not self._is_soon and self._thread_loop is not None:
            self._is_soon = True
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._thread_loop.call_soon_threadsafe(self._wake_soon)

    def _wake_soon(self) -> None:
        if self._thread_loop is not None and self._wake is not None:
            wait_s = self._looked_s + MIN_BEAT_S - time.monotonic()
            self._thread_loop.call_later(max(0.0, wait_s), self._wake.set)

    async def stop(self) -> None:
        self._stopping = True
        self._beat_now()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 2.0)
        faulthandler.cancel_dump_traceback_later()

    def _beat_now(self) -> None:
        if self._thread_loop is not None and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._thread_loop.call_soon_threadsafe(self._wake.set)

    # In the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        except BaseException as error:
            # A process that no longer beats would pay twice, silently: better that its supervisor sees it die.
            log.critical("the leases are no longer renewed", error=type(error).__name__)
            os.abort()

    async def _keep(self) -> None:
        self._thread_loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        ledger = Ledger.at(self._redis_url, self._namespace, connections=1, retries=1)
        away = False
        turns, blocked_s, looked_s, armed_s = -1, 0.0, time.monotonic(), 0.0
        while not self._stopping:
            self._wake.clear()
            looked, looked_s = looked_s, time.monotonic()
            self._looked_s, self._is_soon = looked_s, False
            if self._turns != turns:
                turns, blocked_s = self._turns, 0.0
                if looked_s - armed_s > WATCHDOG_EVERY_S:
                    # Should a call out of Python's reach hold everything, this thread too: the last resort.
                    faulthandler.dump_traceback_later(self._loop_limit_s + WATCHDOG_GRACE_S, exit=True)
                    armed_s = looked_s
            else:
                # Time in which this thread stood still as well (a stopped process) is not held against the loop.
                blocked_s += min(looked_s - looked, 5.0)
            if blocked_s > self._loop_limit_s:
                await self._end_the_process(ledger, blocked_s)
            held = dict(self._epochs)
            calls = {record_id: counted() for record_id, counted in self._calls.copy().items()}
            risks = {record_id: risk() for record_id, risk in self._risks.copy().items()}
            unbudgeted = self._unbudgeted.copy()
            sent_s = now_s()
            try:
                against = await beat(
                    ledger, held, process=self._process, flights=calls, risks=risks, unbudgeted=unbudgeted
                )
                good = True
            except (Damaged, *UNAVAILABLE) as error:
                against, good = {}, False
                if not away:
                    log.warning("redis is away; calls go on", records=len(held), error=type(error).__name__)
            if good and away:
                log.info("redis is back", records=len(held))
            away = not good
            if not self._tell(held, against, sent_s if good else None):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT_S)
        await ledger.close()

    def _tell(self, held: dict[str, int], against: dict[str, StopReason], good_at_s: float | None) -> bool:
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._heard, held, against, good_at_s)
        except RuntimeError:  # the loop is closed: the process is on its way out
            return False
        return True

    async def _end_the_process(self, ledger: Ledger, blocked_s: float) -> None:
        task = asyncio.current_task(self._loop)
        name = task.get_name() if task is not None else ""
        record_id = name if name in self._epochs else ""
        log.critical(
            "the loop stands still; this process ends", seconds=round(blocked_s), record=record_id or "unknown"
        )
        faulthandler.dump_traceback(sys.stderr)
        try:
            hints = await report_end(ledger, self._process, accused=record_id)
            await Hints(self._namespace).publish_again(ledger, hints)
        except UNAVAILABLE as error:
            log.error("not reported; the leases will run out", error=type(error).__name__)
        finally:
            os._exit(EXIT_STUCK)

    # On the loop

    def _heard(self, held: dict[str, int], against: dict[str, StopReason], good_at_s: float | None) -> None:
        self._turns += 1
        for record_id, reason in against.items():
            # Only the attempt that was asked about: another may have been claimed while the beat was under way.
            if self._epochs.get(record_id) == held[record_id]:
                if reason in NOT_OURS:
                    self._lost.add(record_id)
                self._stops[record_id](reason)
        if good_at_s is not None:
            self._good_at_s = max(self._good_at_s, good_at_s)
            waiting, self._waiting = self._waiting, []
            for heard in waiting:
                if not heard.done():
                    heard.set_result(None)
