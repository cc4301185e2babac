"""Write events to their logs: numbered here, appended in groups, kept until the job has ended.

One flusher per process writes the pending events of all its jobs in one round trip, and begins again when that has
returned: no timer, so the group size follows the load. Written events are kept, to repair a log whose tail the server lost
(sent again, with the same numbers) or all of it (restored).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from headrace.errors import Closed, Damaged, Fenced, Gap, Refused, Unknown
from headrace.events.fold import Fold
from headrace.events.types import AttemptStart, KnownJobEvent, Snapshot, encode
from headrace.ledger.append import append, append_call, append_together
from headrace.ledger.compact import compact
from headrace.ledger.restart import restart
from headrace.ledger.restore import restore
from headrace.ledger.script import Ledger, ScriptCall
from headrace.logs import get_logger
from headrace.waiting import retry_write
from headrace_worker.publishing.delta_events import merged

log = get_logger("headrace.worker.publishing.publisher")

T = TypeVar("T")

MAX_EVENTS = 20_000
MAX_BYTES = 8 << 20
"""Maximal bytes of a log since its last compaction to a snapshot."""
MAX_AT_ONCE = 500
LAG_S = 0.020
FLOOR_S = 0.015
MENDS = 5
SOON_S = 0.05
"""Seconds that an event may wait for others, when nobody waits for it."""


class Flusher:
    """Writes the pending events of all publishers of a process."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self._waiting: dict[Publisher, None] = {}
        self._task: asyncio.Task[None] | None = None

    def wake(self, publisher: Publisher) -> None:
        """Schedule a flush: `publisher` has something pending."""
        self._waiting[publisher] = None
        if self._task is None:
            self._task = asyncio.create_task(self._flush(time.monotonic()))

    async def _flush(self, asked: float) -> None:
        """Flush until nothing is pending. `asked` is the time of the request; the delay since is the loop's lag."""
        try:
            while self._waiting:
                if time.monotonic() - asked > LAG_S or any(each.half_full for each in self._waiting):
                    await asyncio.sleep(FLOOR_S)
                group = list(self._waiting)[:MAX_AT_ONCE]
                for publisher in group:
                    del self._waiting[publisher]
                taken = [(publisher, call) for publisher in group if (call := publisher.take_or_lose()) is not None]
                group, calls = [publisher for publisher, _ in taken], [call for _, call in taken]
                if not calls:
                    continue
                try:
                    replies = await retry_write(lambda calls=calls: append_together(self.ledger, calls))
                except Exception as error:
                    for publisher in group:
                        publisher.lose(error)
                    continue
                for publisher, reply in zip(group, replies, strict=True):
                    publisher.written(reply)
                asked = time.monotonic()  # what the next turn of the loop takes is how far it lags
                await asyncio.sleep(0)
        finally:
            self._task = None


class Publisher:
    """The events of one job, over all its attempts. `record` is the job's as it was claimed.

    `on_stop` is called with `CANCELLED`, `FENCED` or `CLOSED` when the ledger refuses or cancels: the call has to end.
    """

    def __init__(
        self,
        flusher: Flusher,
        job_id: str,
        epoch: int,
        record: dict[str, bytes],
        *,
        on_stop: Callable[[str], None] = lambda reason: None,
    ):
        self._flusher = flusher
        self._ledger = flusher.ledger
        self._job_id = job_id
        self._record = dict(record)
        self._on_stop = on_stop
        self._pending: list[KnownJobEvent] = []
        self._busy = 0  # a flush, or what mends the log, is on its way with our events
        self._settled = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._ending = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self.restarting = False
        self._begin(epoch, "crash" if record.get("crashed") == b"1" else "claim")

    def _begin(self, epoch: int, reason: str) -> None:
        self.epoch = epoch
        self.fold = Fold()
        n = int(self._record.get("n") or 1)
        event = AttemptStart(n=n, reset=n > 1, reason=reason)
        self.fold.add(event)
        start = encode(event)
        self._kept = [start]  # as the ledger wrote it
        self._kept_from = 1
        self._kept_bytes = len(start)
        self._snapshot: bytes | None = None
        self._settled.set()

    @property
    def next_seq(self) -> int:
        """The number of the next event that is written."""
        return self._kept_from + len(self._kept)

    @property
    def half_full(self) -> bool:
        return len(self._kept) > MAX_EVENTS // 2 or self._kept_bytes > MAX_BYTES // 2

    def put(self, *events: KnownJobEvent) -> None:
        """Enqueue `events` for the log; they are dropped once nothing can be written any more."""
        if self._error is not None:
            return
        for event in events:
            self.fold.add(event)
        self._pending += events
        if events:
            self._settled.clear()
            self._wake()

    def put_soon(self, event: KnownJobEvent) -> None:
        """Enqueue an event that nobody waits for: it is written along with the next one, after `SOON_S` at the latest."""
        if self._error is None:
            self.fold.add(event)
            self._pending.append(event)
            self._settled.clear()
            if self._soon is None:
                self._soon = asyncio.get_running_loop().call_later(SOON_S, self._wake)

    async def settled(self) -> int:
        """Wait until all events are written; return the number of the next event. Raises the ledger's refusal."""
        if self._pending:
            self._wake()  # also for what could wait
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        return self.next_seq

    async def move(self, make: Callable[[int], Awaitable[T]]) -> T:
        """Run `make(next number)`, a move of the ledger that has to follow all events, and return its result. It is run
        again after a log that the server had lost was repaired. Raises its refusal otherwise."""
        for attempt in range(MENDS):
            seq = await self.settled()
            try:
                return await retry_write(lambda seq=seq: make(seq))
            except (Gap, Unknown) as refused:
                if attempt == MENDS - 1:
                    raise
                self._mend(refused)
        raise AssertionError

    async def end(self, make: Callable[[int, list[bytes]], Awaitable[T]]) -> T:
        """Run `make(number, events)`, the move that ends the job, and return its result: it writes the pending `events` first,
        the one after them has that number. Otherwise as `move`."""
        if self.half_full or len(self._kept) + len(self._pending) >= MAX_EVENTS:
            await self.settled()  # what is pending may fill the log, and a full one is compacted first
        self._ending = True  # what is pending goes along with it
        for attempt in range(MENDS):
            if not self._busy:
                self._settled.set()
            await self.settled()
            events = self._fresh()
            seq = self.next_seq
            try:
                return await retry_write(lambda seq=seq, events=events: make(seq, events))
            except (Gap, Unknown) as refused:
                if attempt == MENDS - 1:
                    raise
                self._mend(refused)
        raise AssertionError

    async def restart(self, reason: str) -> int:
        """Begin a new attempt, which clears what viewers show; returns its epoch. `reason` is one word."""
        self.restarting = True
        try:
            token = f"{self.epoch}.{self._record.get('n', b'').decode()}"
            epoch = await self.move(
                lambda _: restart(self._ledger, self._job_id, self.epoch, token=token, reason=reason)
            )
            self._record["n"] = str(int(self._record.get("n") or 1) + 1).encode()
            self._begin(epoch, reason)
            return epoch
        finally:
            self.restarting = False

    def mend_lost_record(self) -> None:
        """Write the job again, which the ledger does not know any more."""
        # What is being written, or is about to be, finds out by itself.
        if not (self._busy or self._pending) and self._error is None:
            self._mend(Unknown(self._job_id))

    # What the flusher calls

    def take_or_lose(self) -> ScriptCall | None:
        """Return the pending events as one append; None when there are none, or they cannot be written: then this log ends, and
        no other waits for it."""
        if self._ending or not self._pending:
            return None
        busy = self._busy
        try:
            return self.take()
        except (TypeError, ValueError, RecursionError) as error:
            log.error("an event cannot be written", job=self._job_id, error=type(error).__name__)
            self._busy = busy
            self.lose(error, busy=False)
            return None

    def take(self) -> ScriptCall:
        """Return the pending events as one append."""
        first = self.next_seq
        fresh = self._fresh()
        self._busy += 1
        if len(self._kept) >= MAX_EVENTS or self._kept_bytes >= MAX_BYTES:
            # Now, while nothing is pending, the fold is that of all numbers so far.
            self._snapshot = encode(self.fold.snapshot(self.next_seq - 1))
        return append_call(self._ledger, self._job_id, self.epoch, first, fresh)

    def _fresh(self) -> list[bytes]:
        """Return the pending events, encoded, and keep them as written."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        first = self.next_seq
        fresh: list[bytes] = []
        for event in merged(self._pending):
            if type(event) is Snapshot:
                event = msgspec.structs.replace(event, upto=first + len(fresh) - 1)
            fresh.append(encode(event))
        self._pending = []
        self._kept += fresh
        self._kept_bytes += sum(map(len, fresh))
        return fresh

    def written(self, reply: str | Exception) -> None:
        """Handle the reply to the last `take`."""
        self._busy -= 1
        if isinstance(reply, Gap | Unknown):
            self._mend(reply)
        elif isinstance(reply, Exception):
            self.lose(reply, busy=False)
        else:
            if reply and not self._cancelled:
                self._cancelled = True
                self._on_stop("CANCELLED")
            if self._snapshot is not None:
                self._run(self._compact(self._snapshot))
            else:
                self._rest()

    def lose(self, error: BaseException, *, busy: bool = True) -> None:
        """Give up: nothing can be written any more."""
        self._busy -= busy
        self._error = error
        self._pending = []
        self._settled.set()
        if isinstance(error, Fenced | Closed | Damaged):
            self._on_stop(type(error).__name__.upper())

    # How a log is mended

    def _wake(self) -> None:
        if not self._busy and self._error is None and not self._ending:
            self._flusher.wake(self)

    def _rest(self) -> None:
        if self._pending and not self._ending:
            self._wake()
        elif not self._busy:
            self._settled.set()

    def _run(self, work: Any) -> None:
        self._busy += 1
        self._settled.clear()
        self._task = asyncio.create_task(self._worked(work))

    async def _worked(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            self.lose(error)
            return
        self._busy -= 1
        self._rest()

    async def _compact(self, snapshot: bytes) -> None:
        seq = self.next_seq
        try:
            await retry_write(lambda: compact(self._ledger, self._job_id, self.epoch, seq, snapshot))
        except Unknown:
            await self._restore()
            await retry_write(lambda: compact(self._ledger, self._job_id, self.epoch, seq, snapshot))
        self._kept, self._kept_from, self._kept_bytes = [snapshot], seq, 0
        self._snapshot = None
        log.info("log compacted", job=self._job_id, upto=seq - 1, bytes=len(snapshot))

    def _mend(self, refused: Gap | Unknown) -> None:
        self._run(self._mended(refused))

    async def _mended(self, refused: Refused) -> None:
        for _ in range(MENDS):
            try:
                if isinstance(refused, Unknown):
                    last = await self._restore()
                else:
                    last = int(refused.detail) - 1
                    log.warning("the server lost the end of a log; sent again", job=self._job_id, after=last)
                await self._send_after(last)
                return
            except (Gap, Unknown) as again:
                refused = again
        raise refused

    async def _restore(self) -> int:
        log.warning("the server lost a record; restored", job=self._job_id)
        return await retry_write(
            lambda: restore(self._ledger, self._job_id, self.epoch, self._record, self._kept, first_seq=self._kept_from)
        )

    async def _send_after(self, last: int) -> None:
        while last < self._kept_from - 1:  # what came before is kept as a snapshot alone
            seq, snapshot = self._kept_from, self._kept[0]
            await retry_write(
                lambda seq=seq, snapshot=snapshot: compact(self._ledger, self._job_id, self.epoch, seq, snapshot)
            )
            last = seq
        missing = self._kept[last + 1 - self._kept_from :]
        if missing:
            await retry_write(lambda: append(self._ledger, self._job_id, self.epoch, last + 1, missing))
