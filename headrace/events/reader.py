"""Read event logs, for the client, the command line and the gateway: every event, in order, once.

A viewer is a cursor, not a queue. It takes the next events from the buffer of its log, which all viewers in the process
share, and reads pages from the Stream when it has fallen behind the ring buffer. So late joiners, resumption, slow
consumers and reconnects are one code path, and a viewer's memory is constant.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Literal

from redis.exceptions import ResponseError

from headrace.errors import Gone, Unknown
from headrace.events.ids import START, Event, EventId
from headrace.events.log_buffer import END, SNAPSHOT, LogBuffer, Tail, damaged, read_tail
from headrace.events.subscription import Subscriber
from headrace.ledger.event_log import LogTail, log_tails
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.waiting import PATIENCE_S, away_too_long, retry_read, stop

PAGE = 200
FIRST_PAGE, PAGE_BYTES = 8, 256 << 10  # of a viewer on its own: a slow one holds its page for as long as it likes
LINGER_S = 5.0
CHECK_S = 1.0
TICK_S = 0.25
CHECKS_AT_ONCE = 500
LOOK_AGAIN_S = 0.2
MAX_CHECKS_A_S = 2000
LATE_BEFORE_RECYCLING = 2
LOST_S = 60.0
TURNS = 4
"""Turns of the loop within which a subscription is sent, when it is connected."""


class Reader:
    """The reader of a process and event loop. A log's buffer may hold `buffer_bytes`, all of them together `ring_bytes`."""

    def __init__(self, ledger: Ledger, *, buffer_bytes: int = 1 << 20, ring_bytes: int = 256 << 20):
        self._ledger = ledger
        self._subscriber = Subscriber(ledger)
        self._buffers: OrderedDict[str, LogBuffer] = OrderedDict()  # the one used last is last
        self._buffer_bytes = buffer_bytes
        self._ring_bytes = ring_bytes
        self._bytes = 0
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._checking: asyncio.Task[None] | None = None

    async def view(self, record: str, after: EventId | Literal["now"] = START) -> Viewer:
        """Return a viewer of the log of `record` (a key: `keys.job(id)`, `keys.batch(id)`) that goes on after the cursor.

        A cursor of an attempt that the ledger does not know (it lost data) begins at the start. Raises `Unknown` when there
        is no such record, `Gone` when it ended before the cursor, `Unreachable` when Redis has been away for a minute.
        """
        tail = await retry_read(lambda: read_tail(self._ledger, record))
        if tail is None:
            raise Unknown(record.rpartition(":")[2], "never submitted here, or past its retention")
        if after == "now":
            after = tail.id
        elif after.epoch > tail.id.epoch:
            after = START
        if tail.ended and after > tail.id:
            raise lost_end(record)
        viewer = Viewer(self, self._buffer(record), after)
        viewer.ended = tail.ended and after == tail.id
        return viewer

    def expect(self, record: str) -> Viewer:
        """Return a viewer of the log of a record that is about to be made by the caller, from its first event on. Nothing is
        read for it. Call its `creating` before the record is made, and `created` when it is there."""
        return Viewer(self, self._buffer(record, is_expected=True), START)

    def held(self) -> dict[str, int]:
        """Return the number of logs that are followed, and the bytes of their buffered events."""
        return {"rooms": len(self._buffers), "ring_bytes": self._bytes}

    async def close(self) -> None:
        await stop(self._checking)
        for timer in self._lingering.values():
            timer.cancel()
        await asyncio.gather(*(buffer.close() for buffer in self._buffers.values()))
        self._buffers.clear()
        await self._subscriber.close()

    def _buffer(self, record: str, *, is_expected: bool = False) -> LogBuffer:
        buffer = self._buffers.get(record)
        if buffer is not None and buffer.failure is not None:
            self._forget(buffer)
            buffer = None
        if buffer is None:
            buffer = LogBuffer(self._ledger, record, most_bytes=self._buffer_bytes, on_growth=self._on_growth)
            channel = self._ledger.keys.channel(record)
            if is_expected:
                buffer.expect(lambda: self._subscriber.link(channel))
            self._buffers[record] = buffer
            self._subscriber.listen(channel, buffer)
        self._buffers.move_to_end(record)
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_tails())
        return buffer

    def enter(self, buffer: LogBuffer, viewer: Viewer) -> None:
        timer = self._lingering.pop(buffer.record, None)
        if timer is not None:
            timer.cancel()
        buffer.viewers.add(viewer)

    def leave(self, buffer: LogBuffer, viewer: Viewer) -> None:
        buffer.viewers.discard(viewer)
        if not buffer.viewers and buffer.was_expected:  # who made the record has seen its end, and nobody else came
            self._forget(buffer)
        elif not buffer.viewers and buffer.record not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[buffer.record] = loop.call_later(LINGER_S, self._close_buffer, buffer)

    def _close_buffer(self, buffer: LogBuffer) -> None:
        self._lingering.pop(buffer.record, None)
        if not buffer.viewers:
            self._forget(buffer)

    def _forget(self, buffer: LogBuffer) -> None:
        if self._buffers.get(buffer.record) is buffer:
            del self._buffers[buffer.record]
            self._subscriber.leave(self._ledger.keys.channel(buffer.record))
        buffer.drop_ring()

    def _on_growth(self, buffer: LogBuffer, size: int) -> None:
        self._bytes += size
        if self._bytes > self._ring_bytes:
            for other in list(self._buffers.values()):
                if other is not buffer and other.bytes:
                    other.drop_ring()
                    if self._bytes <= self._ring_bytes:
                        return

    async def _check_tails(self) -> None:
        """Read the tails of logs that were silent for a second: the only way to notice that the message of a last event was
        lost."""
        clock = asyncio.get_running_loop().time
        away_since: float | None = None
        lost_since: dict[str, float] = {}
        while self._buffers:
            await asyncio.sleep(max(TICK_S, len(self._buffers) / MAX_CHECKS_A_S))
            now = clock()
            idle = [buffer for buffer in self._buffers.values() if buffer.viewers and now - buffer.heard_at >= CHECK_S]
            if not idle:
                continue
            for buffer in idle:
                buffer.heard_at = now
            try:
                tails = [tail for at in range(0, len(idle), CHECKS_AT_ONCE) for tail in await self._tails(idle[at:])]
                away_since = None
            except UNAVAILABLE as error:
                away_since = away_since or now
                if now - away_since > PATIENCE_S:
                    for buffer in idle:
                        buffer.on_failure(away_too_long(error))
                continue
            for buffer, tail in zip(idle, tails, strict=True):
                if tail is None:
                    # Whoever holds the attempt writes the record again; when nobody does, nobody will.
                    if now - lost_since.setdefault(buffer.record, now) > LOST_S:
                        buffer.on_failure(Unknown(buffer.record.rpartition(":")[2], "the ledger has lost it"))
                    continue
                lost_since.pop(buffer.record, None)
                if isinstance(tail, Tail):
                    self._compare(buffer, tail)
                else:
                    buffer.on_failure(tail)

    def _compare(self, buffer: LogBuffer, tail: Tail) -> None:
        if not buffer.begun or tail.id <= buffer.top:
            buffer.late = 0
            if not buffer.begun:
                buffer.fill()
            elif tail.ended and tail.id < buffer.top:
                buffer.on_failure(lost_end(buffer.record))
            return
        buffer.late += 1
        buffer.fill()
        if buffer.late >= LATE_BEFORE_RECYCLING:
            buffer.late = 0
            self._subscriber.recycle()

    async def _tails(self, buffers: list[LogBuffer]) -> list[Tail | Exception | None]:
        """Return the tail of each buffer: None without a record, `Damaged` for one that cannot be read, which does not
        affect the others."""
        asked = buffers[:CHECKS_AT_ONCE]
        replies = await log_tails(self._ledger, [buffer.record for buffer in asked])
        return [tail_of(buffer.record, reply) for buffer, reply in zip(asked, replies, strict=True)]


def tail_of(record: str, reply: LogTail | Exception | None) -> Tail | Exception | None:
    """Return the tail in one record's reply. Raises an error that concerns all records."""
    try:
        if isinstance(reply, Exception):
            raise reply
        return Tail.of(reply)
    except (ResponseError, ValueError) as error:
        failure = damaged(record, error)
        if failure is error:
            raise
        return failure


def lost_end(record: str) -> Gone:
    """Return the error of a truncated log: the server lost events that were seen here, and the record ended, so that no
    writer sends them again."""
    return Gone(record.rpartition(":")[2], None)


class Viewer:
    """A cursor over one log. `cursor` is the id of the last event that was returned; the next one follows it.

    Iterate it for single events, or take them in batches with `next()`. It ends after `end`; `ended` is True when the
    cursor is at the end already. Close it, or use it in a `with`.
    """

    def __init__(self, reader: Reader, buffer: LogBuffer, cursor: EventId):
        self.cursor = cursor
        self.ended = False
        self._reader = reader
        self._buffer = buffer
        self._news = asyncio.Event()
        self._group: list[Event] = []
        self._page_size = FIRST_PAGE
        reader.enter(buffer, self)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.leave(self._buffer, self)

    async def creating(self) -> None:
        """Note that the record of an expected log is about to be made (`Reader.expect`): the caller does that next."""
        for _ in range(TURNS):  # the subscription leaves first, where there is a connection
            await asyncio.sleep(0)
            if self._buffer.creating():
                return

    def created(self) -> None:
        """Note that the record of an expected log is there (`Reader.expect`)."""
        self._buffer.created()

    def wake(self) -> None:
        self._news.set()

    def __aiter__(self) -> Viewer:
        return self

    async def __anext__(self) -> Event:
        if not self._group:
            cursor = self.cursor
            self._group = (await self.next())[::-1]
            self.cursor = cursor
        event = self._group.pop()
        self.cursor = event.id
        return event

    async def next(self) -> list[Event]:
        """Return the next events, at least one; wait for them. `StopAsyncIteration` after the group that holds `end`.

        Raises `Gone` when events after the cursor are no longer there, `Unknown` when the record is not, `Unreachable`
        when Redis has been away for a minute. Cancelling it loses nothing.
        """
        if self._group:  # what iterating has left over
            group, self._group = self._group[::-1], []
            self.cursor = group[-1].id
            return group
        while not self.ended:
            self._news.clear()
            group = await self._take()
            if group:
                return self._handed(group)
            if self._buffer.failure is not None:
                raise self._buffer.failure
            await self._news.wait()
        raise StopAsyncIteration

    def at_hand(self) -> list[Event] | None:
        """Return the buffered events after the cursor without I/O. An empty list: wait for `news`. None: call `next`, which
        has to read, or to raise. For a consumer of thousands of logs that does not want a task per event."""
        self._news.clear()
        buffer = self._buffer
        if self.ended or self._group or buffer.failure is not None:
            return None
        if not buffer.begun or self.cursor >= buffer.top:
            return []
        return self._handed(buffer.after(self.cursor, PAGE)) if buffer.covers(self.cursor) else None

    async def news(self) -> None:
        """Wait for a notification since the last `at_hand`: by the log, or by a call of `wake`."""
        await self._news.wait()

    def _handed(self, group: list[Event]) -> list[Event]:
        self.cursor = group[-1].id
        self.ended = group[-1].data.startswith(END)
        return group

    async def _take(self) -> list[Event]:
        buffer = self._buffer
        while buffer.begun and self.cursor < buffer.top:
            if buffer.covers(self.cursor):
                return buffer.after(self.cursor, PAGE)
            if not await buffer.reach_back():
                return await self._page()
        return []

    async def _page(self) -> list[Event]:
        while not (group := await self._buffer.page(self.cursor, self._page_size)):
            tail = await self._buffer.tail()
            if tail is not None and tail.ended:
                # Unless it was sent again, and ended, in the meantime.
                if group := await self._buffer.page(self.cursor, self._page_size):
                    break
                raise Gone(self._buffer.record.rpartition(":")[2], None)
            if self._buffer.failure is not None:
                return []
            # The server lost the end of the log, or all of it: who writes it sends it again.
            await asyncio.sleep(LOOK_AGAIN_S)
        fitting = PAGE_BYTES * len(group) // (sum(len(event.data) for event in group) + 1)
        self._page_size = max(1, min(PAGE, 2 * self._page_size, fitting))
        first = group[0]
        if self._buffer.totals or first.data.startswith(SNAPSHOT) or first.id.follows(self.cursor):
            return group
        raise Gone(self._buffer.record.rpartition(":")[2], first.id)
