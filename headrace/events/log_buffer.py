"""The newest events of one log, shared by all who watch it in this process.

The Stream is the truth, its channel only the fast copy. A message that follows the last event is taken as it comes; anything
else (a gap, a doorbell without its event, a fresh subscription) is mended by reading on from the Stream.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol
from weakref import WeakValueDictionary

from redis.exceptions import ResponseError

from headrace.errors import Damaged, HeadraceError, Unknown
from headrace.events.ids import START, Event, EventId
from headrace.events.types import End, Snapshot, beginning
from headrace.ledger.event_log import LogTail, log_entries, log_tail
from headrace.ledger.script import Ledger, is_damage
from headrace.ledger.state import BATCH_TERMINAL, TERMINAL
from headrace.waiting import retry_read, stop

PAGE = 500
OVERHEAD_BYTES = 120
END = beginning(End)
SNAPSHOT = beginning(Snapshot)


class Tail:
    """The tail of a log, by its record. `ended`: nothing will follow."""

    def __init__(self, state: str, id: EventId):
        self.id = id
        self.ended = state in TERMINAL or state in BATCH_TERMINAL

    @staticmethod
    def of(tail: LogTail | None) -> Tail | None:
        return None if tail is None else Tail(tail.state, EventId(tail.epoch, tail.seq))


def holds_totals(record: str) -> bool:
    """Return True if the events of a record's log are totals, not pieces: of a batch's only the last 32 are kept, and none of
    the older is missed."""
    return ":batch:" in record


class Woken(Protocol):
    """A watcher: told that there is something to look at."""

    def wake(self) -> None: ...


class Page(list[Event]):
    """Events that several viewers hold; a plain list cannot be kept for as long as somebody has it, and no longer."""

    __slots__ = ("__weakref__",)


class LogBuffer:
    """The ring of one log. It is `begun` once its end is known; its events lie between `base` and `top`."""

    def __init__(self, ledger: Ledger, record: str, *, most_bytes: int, on_growth: Callable[[LogBuffer, int], None]):
        self.record = record
        self.viewers: set[Woken] = set()
        self.begun = False
        self.top = START
        self.base = START  # a viewer that has seen this, or anything later, finds what follows in the ring
        self.bytes = 0
        self.late = 0  # how often in a row the tail check found what no message had told
        self.heard_at = 0.0  # when an event came, or the end of the log was asked for
        self.failure: BaseException | None = None
        self.totals = holds_totals(record)
        self._ledger = ledger
        self._most_bytes = most_bytes
        self._on_growth = on_growth
        self._events: list[Event] = []
        self._ids: list[EventId] = []
        self.was_expected = False
        self._is_new = False
        self._link: Callable[[], int] = lambda: 0  # the subscription's connection (`Subscriber.link`)
        self._link_of_creation: int | None = None
        self._dirty = False
        self._filling: asyncio.Task[None] | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._too_deep = False
        self._pages: WeakValueDictionary[tuple[EventId, int], Page] = WeakValueDictionary()
        self._paging: dict[tuple[EventId, int], asyncio.Task[Page]] = {}

    def expect(self, link: Callable[[], int]) -> None:
        """Begin with an empty log: its record is about to be made. `link` returns the connection on which the subscription to
        it was sent, 0 before that."""
        self.begun = self.was_expected = self._is_new = True
        self._link = link
        self.heard_at = asyncio.get_running_loop().time()

    def creating(self) -> bool:
        """Note that the record is made from now on: a subscription that was not sent before may miss what is published.
        Returns True if it was sent."""
        self._link_of_creation = self._link()
        return self._link_of_creation > 0

    def created(self) -> None:
        """Note that there is a record: what a subscription that is confirmed from now on may have missed has to be read."""
        self._is_new = False

    # What the subscriber tells

    def on_confirmed(self) -> None:
        is_complete = self._is_new and self._link_of_creation in (None, self._link())
        self._is_new = False
        if not is_complete:
            self.fill()

    def on_message(self, payload: bytes) -> None:
        if not self.begun or self._filling is not None:
            self.fill()
            return
        text, _, data = payload.partition(b" ")
        try:
            id = EventId.parse(text.decode())
        except ValueError:  # nobody's event: the log is the truth, and all the other buffers go on
            self.fill()
            return
        if id <= self.top:
            return
        if data[:1] == b"{" and id.follows(self.top):
            self.late = 0
            self._push(Event(id, data))
            self._wake()
        else:
            self.fill()

    def on_failure(self, error: BaseException) -> None:
        self.failure = error
        self._wake()

    # What the viewers ask

    def covers(self, cursor: EventId) -> bool:
        """Return True if all that follows `cursor`, as far as it is known here, lies in the ring."""
        return cursor >= self.base

    def after(self, cursor: EventId, most: int) -> list[Event]:
        at = bisect_right(self._ids, cursor)
        return self._events[at : at + most]

    async def reach_back(self) -> bool:
        """Put the whole log into the ring, once for all who come late; False when it does not fit."""
        if not self._too_deep:
            if self._reaching is None:
                self._reaching = asyncio.create_task(self._reach_back())
            await asyncio.shield(self._reaching)
        return not self._too_deep

    async def page(self, cursor: EventId, most: int) -> list[Event]:
        """Return the next events after `cursor`, read from the Stream: once for all concurrent readers, because a snapshot
        is as large as an answer. It may be older than the log, so that less follows than there is by now."""
        key = cursor, most
        page = self._pages.get(key)
        if page is None:
            if key not in self._paging:
                self._paging[key] = asyncio.create_task(self._read_page(cursor, most))
            page = await asyncio.shield(self._paging[key])
        return page

    async def tail(self) -> Tail | None:
        return await retry_read(lambda: read_tail(self._ledger, self.record))

    def drop_ring(self) -> None:
        self._events, self._ids, self.base = [], [], self.top
        self._grow(-self.bytes)

    def fill(self) -> None:
        """Read on from the Stream to its end, in the background."""
        if self._filling is None:
            self._filling = asyncio.create_task(self._fill())
        else:
            self._dirty = True

    async def close(self) -> None:
        await stop(self._filling, self._reaching, *self._paging.values())

    # How it fills

    async def _read_page(self, cursor: EventId, most: int) -> Page:
        key = cursor, most
        try:
            page = Page(await self._read(f"({cursor}", "+", most))
            if page:
                self._pages[key] = page
            return page
        finally:
            del self._paging[key]

    async def _fill(self) -> None:
        try:
            while True:
                self._dirty = False
                full = False
                if not self.begun:
                    tail = await self.tail()
                    if tail is None:
                        raise Unknown(self.record, "it is gone")
                    self.top = self.base = tail.id
                    self.begun = True
                else:
                    entries = await self._read(f"({self.top}", "+", PAGE)
                    full = len(entries) == PAGE
                    for event in entries:
                        self._push(event)
                self._wake()
                if not full and not self._dirty:
                    return
        except HeadraceError as error:
            self.on_failure(error)
        finally:
            self._filling = None

    async def _reach_back(self) -> None:
        """Prepend older events to the ring; only its beginning may change meanwhile, so this is repeated until it fits, or
        is too much."""
        try:
            while self.base != START:
                base, found, size = self.base, [], 0
                while not found or found[-1].id < base:
                    entries = await self._read(f"({found[-1].id}" if found else "-", str(base), PAGE)
                    found += entries
                    size += sum(len(event.data) + OVERHEAD_BYTES for event in entries)
                    if size + self.bytes > self._most_bytes:
                        self._too_deep = True
                        return
                    if len(entries) < PAGE:
                        break
                if self.base != base:
                    continue
                if not found or found[-1].id != base or not self._whole(found):
                    self._too_deep = True  # trimmed, or gone: each viewer finds out for itself
                    return
                self._events = found + self._events
                self._ids = [event.id for event in found] + self._ids
                self.base = START
                self._grow(size)
        finally:
            self._reaching = None

    def _whole(self, events: list[Event]) -> bool:
        """Return True if a viewer that has seen nothing can begin with these."""
        begins = self.totals or events[0].id.seq == 1 or events[0].data.startswith(SNAPSHOT)
        return begins and all(later.id.follows(earlier.id) for earlier, later in pairwise(events))

    def _push(self, event: Event) -> None:
        if event.id <= self.top:
            return
        fresh = event.id.epoch > self.top.epoch and event.id.seq == 1
        if fresh or (event.data.startswith(SNAPSHOT) and not event.id.follows(self.top)):
            # All that was before is void: whatever a viewer has seen, it goes on from here.
            self.drop_ring()
            self.base = START
            self._too_deep = False
        elif not event.id.follows(self.top) and not self.totals:
            self.drop_ring()
            self.base = EventId(event.id.epoch, event.id.seq - 1)
        self._events.append(event)
        self._ids.append(event.id)
        self.top = event.id
        self.heard_at = asyncio.get_running_loop().time()
        self._grow(len(event.data) + OVERHEAD_BYTES)
        if self.bytes > self._most_bytes:
            self._shorten()

    def _shorten(self) -> None:
        """Shorten the ring to three quarters, so that a list is not cut at every event."""
        at, freed = 0, 0
        while self.bytes - freed > self._most_bytes * 3 // 4 and at < len(self._events) - 1:
            freed += len(self._events[at].data) + OVERHEAD_BYTES
            at += 1
        if at:
            self.base = self._ids[at - 1]
            del self._events[:at], self._ids[:at]
            self._too_deep = True
            self._grow(-freed)

    def _grow(self, size: int) -> None:
        self.bytes += size
        self._on_growth(self, size)

    async def _read(self, first: str, last: str, count: int) -> list[Event]:
        try:
            entries = await retry_read(lambda: read_entries(self._ledger, self.record, first, last, count))
            return [Event(EventId.parse(id), data) for id, data in entries]
        except (ValueError, KeyError) as error:
            raise Damaged(self.record, "its log holds what is no event") from error

    def _wake(self) -> None:
        for viewer in self.viewers:
            viewer.wake()


async def read_tail(ledger: Ledger, record: str) -> Tail | None:
    """Return the tail of the log; None without a record. Raises `Damaged` when the record is corrupt."""
    try:
        return Tail.of(await log_tail(ledger, record))
    except (ResponseError, ValueError) as error:
        raise damaged(record, error) from error


async def read_entries(ledger: Ledger, record: str, first: str, last: str, count: int) -> list[tuple[str, bytes]]:
    try:
        return await log_entries(ledger, record, first, last, count)
    except ResponseError as error:
        raise damaged(record, error) from error


def damaged(record: str, error: ResponseError | ValueError) -> Exception:
    """Return `Damaged` when the record is to blame for `error`, else the error itself."""
    if isinstance(error, ValueError) or is_damage(error):
        return Damaged(record.rpartition(":")[2], "its record in Redis cannot be read")
    return error
