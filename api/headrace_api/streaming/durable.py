"""A log as a Durable Stream (the protocol of that name, read-only): its offsets, what a read returns, and its live form as
server-sent events.

An offset is the id of the last event that was read, both numbers with 15 digits, so that texts sort as positions do. A message
is an event as it is stored.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any, Literal

import msgspec

from headrace.errors import Gone, HeadraceError, InputError
from headrace.events.ids import START, Event, EventId
from headrace.events.log_buffer import SNAPSHOT, holds_totals
from headrace.events.reader import Viewer
from headrace_api.errors import ApiError
from headrace_api.streaming.inactivity_timer import InactivityTimer
from headrace_api.streaming.sse import PIECE_BYTES, cut, line
from headrace_api.views import Frame

OFFSET = re.compile(r"([0-9]{15})-([0-9]{15})")
CURSOR = re.compile(r"[0-9]{1,15}")
CURSOR_EPOCH_S = 1_728_432_000
"""9 October 2024: intervals of cursors are counted from there."""
CURSOR_INTERVAL_S = 20
MAX_CURSOR_JITTER_S = 3600
LIFETIME_S = 60.0
"""A live response is closed after about so long; its client comes back with the last offset."""


def offset_of(id: EventId) -> str:
    """Return the offset after an event."""
    return f"{id.epoch:015d}-{id.seq:015d}"


def parse_offset(text: str | None) -> EventId | Literal["now"]:
    """Parse an offset; none and `-1` are the start. Raises `InputError`."""
    if text is None or text == "-1":
        return START
    if text == "now":
        return "now"
    form = OFFSET.fullmatch(text)
    if form is None:
        raise InputError(f"offset={text!r:.60}: must be -1, now, or an offset as it came in `Stream-Next-Offset`")
    return EventId(int(form[1]), int(form[2]))


def next_cursor(given: str | None) -> str:
    """Return the cursor of a live response: the number of the interval, and always more than the client's, or a cache would
    give the same answer for ever. Raises `InputError`."""
    current = int(time.time() - CURSOR_EPOCH_S) // CURSOR_INTERVAL_S
    if given is None:
        return str(current)
    if not CURSOR.fullmatch(given):
        raise InputError(f"cursor={given!r:.60}: must be a cursor as it came in `Stream-Cursor`")
    jitter = max(1, random.randint(1, MAX_CURSOR_JITTER_S) // CURSOR_INTERVAL_S)
    return str(current if int(given) < current else int(given) + jitter)


def check_retained(events: list[Event], after: EventId, record: str) -> None:
    """Raise `Gone` when what followed `after` is no longer in the log: it was compacted, or trimmed. A log begins with its
    snapshot. Of a batch's log nothing older is missed: each of its events has all counters."""
    first = events[0]
    begins = holds_totals(record) or (after == START and first.data.startswith(SNAPSHOT))
    if not begins and not first.id.follows(after):
        raise Gone(record.rpartition(":")[2], first.id)


def messages_of(events: Iterable[Event]) -> bytes:
    """Return events as the JSON array of a response."""
    return b"[" + b",".join(event.data for event in events) + b"]"


class DurableSession:
    """The live form: `data` frames with arrays of messages, each followed by a `control` frame with the offset to go on from.
    `after` is where it begins, `is_behind` that there are events after it, `lasts_s` how long it may last."""

    def __init__(
        self,
        record: str,
        viewer: Viewer,
        after: EventId,
        *,
        is_behind: bool,
        drain: asyncio.Event,
        heartbeat_s: float,
        lasts_s: float,
        cursor: str | None,
    ):
        self.last = ""
        self.unsent = False
        self.problem: ApiError | None = None
        self._record = record
        self._viewer = viewer
        self._after = after
        self._is_behind = is_behind
        self._drain = drain
        self._heartbeat_s = heartbeat_s
        self._lasts_s = lasts_s
        self._cursor = cursor
        self._silent = self._over = False

    def close(self) -> None:
        self._viewer.close()

    async def groups(self, gone: asyncio.Future[Any]) -> AsyncGenerator[list[Frame]]:
        """Yield the frames of each batch of events; an empty group whenever nothing came for a heartbeat. Ends after the log's
        end, with the lifetime, when the gateway drains, and when the next events are no longer there."""
        viewer, loop = self._viewer, asyncio.get_running_loop()
        drain = asyncio.create_task(self._drain.wait())

        def end(_: Any = None) -> None:
            self._over = True
            viewer.wake()

        gone.add_done_callback(end)
        drain.add_done_callback(end)
        lifetime = loop.call_later(min(LIFETIME_S, self._lasts_s), end)
        silence = InactivityTimer(self._heartbeat_s, self._on_silence)
        try:
            events = None if self._is_behind else self._at_hand()
            if events == [] or viewer.ended:
                yield [self._control(up_to_date=True)]
            while not self._over and (events or not viewer.ended):  # the last ones may be at hand already
                self._silent = False
                silence.start()
                if events is None:
                    events = await self._next(drain, gone)
                    if events is None:
                        return
                elif not events:
                    await viewer.news()
                    events = self._at_hand()
                    if events == [] and self._silent:
                        yield []
                    continue
                check_retained(events, self._after, self._record)
                self._after = events[-1].id
                said, events = events, self._at_hand()
                control = self._control(up_to_date=not events and (viewer.ended or events is not None))
                yield [Frame("data", messages_of(said)), control]
            self.last = "end" if viewer.ended and not events else ""
        except (HeadraceError, StopAsyncIteration):
            pass  # it comes back with its offset, and is told by the status
        finally:
            silence.close()
            lifetime.cancel()
            gone.remove_done_callback(end)
            drain.cancel()

    def _at_hand(self) -> list[Event] | None:
        """Return buffered events, none when there are none yet, None when they have to be read."""
        return None if self._viewer.ended else self._viewer.at_hand()

    async def _next(self, *ends: asyncio.Future[Any]) -> list[Event] | None:
        """Return the next events, read if need be; None when one of `ends` is done first."""
        coming = asyncio.ensure_future(self._viewer.next())
        try:
            await asyncio.wait({coming, *ends}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            coming.cancel()

    def _on_silence(self) -> None:
        self._silent = True
        self._viewer.wake()

    def _control(self, *, up_to_date: bool) -> Frame:
        said: dict[str, Any] = {"streamNextOffset": offset_of(self._after), "streamCursor": next_cursor(self._cursor)}
        if up_to_date:
            said["upToDate"] = True
            if self._viewer.ended:
                said["streamClosed"] = True
        return Frame("control", msgspec.json.encode(said))


class EventEncoder:
    """Writes frames as events that are named by their id, `data` and `control`."""

    def pieces(self, frames: Iterable[Frame]) -> Iterator[bytes]:
        for frame in frames:
            head = f"event: {frame.id}\ndata: ".encode()
            if len(frame.data) <= PIECE_BYTES:
                yield head + line(frame.data) + b"\n\n"
                continue
            yield head
            yield from map(line, cut(frame.data))
            yield b"\n\n"
