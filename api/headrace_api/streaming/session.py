"""A viewer's frames as they come, for whichever transport: in groups, with the silence between them told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from headrace.chat.completion import Outcome
from headrace.errors import Expired, Failure, Fenced, Gone, HeadraceError, Unknown
from headrace.events.ids import START, Event, EventId
from headrace.events.log_buffer import END, SNAPSHOT
from headrace.events.reader import Viewer
from headrace.events.types import (
    AttemptRoute,
    AttemptStart,
    End,
    Snapshot,
    Status,
    TextDelta,
    UsageEvent,
    beginning,
)
from headrace.ledger.job_record import stands_since
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.show import show
from headrace.ledger.state import JobState
from headrace.waiting import retry_read
from headrace_api.errors import ApiError, api_error, failed
from headrace_api.requests.patience import limit_of
from headrace_api.state import Gateway
from headrace_api.streaming.inactivity_timer import InactivityTimer
from headrace_api.streaming.notices import AuthExpiring, GapNotice, Notice, Position
from headrace_api.views import Cursor, Frame, Replay, Subject, View

FIRST_S = 0.25
GROUP_BYTES = 64 * 1024
LOOK_AGAIN_S = 60.0
STALLED_MS = {JobState.QUEUED: 600_000, JobState.RUNNING: 60_000}
"""Since it was submitted, and since its lease ran out."""
EXPIRING_S = 30.0
ROUTE = beginning(AttemptRoute)
NO_ANSWER = tuple(beginning(kind) for kind in (AttemptStart, AttemptRoute, Status, UsageEvent, End))
"""Beginnings of events that tell nothing of the answer itself."""
FIRST_TEXT = beginning(TextDelta) + b',"c":0,'
"""The beginning of each text of the first choice; the others come when they are read, as they are."""
EXPIRED = "the token that it was opened with holds no longer; come back with a fresh one"
DRAINING = "the gateway is restarting"


class StreamSession:
    """The frames of one job in one view, after one cursor. `open` it first; `close` it at the end.

    `lasts_s` is how long it may, by the token it was opened with. `last` says why it ended, once `groups` has: `end`, `drain`,
    `expired`, `gone` or `failed`. With `patience_s` the
    response gets no head, `unsent`, before the first frame, or for one heartbeat's time; until then `problem` is what to answer
    instead: the job failed before any frame, or waits longer for its provider than `patience_s`.
    """

    def __init__(
        self,
        gateway: Gateway,
        view: type[View],
        subject: Subject,
        cursor: Cursor,
        *,
        lasts_s: float | None = None,
        patience_s: float | None = None,
    ):
        self._gateway = gateway
        self._held = False
        self._shown = 0  # the epoch of which the ledger knows that a part is shown
        self._ahead: list[list[Frame]] = []
        self._lead: list[Frame] = []
        self._replay = Replay(view, subject, cursor)
        self._cursor = cursor
        self.job = subject.job
        self.last = ""
        self.unsent = patience_s is not None
        self.problem: ApiError | None = None
        self._patience_s = patience_s
        self._viewer: Viewer | None = None
        self._silent = False
        self._told = self._head_due = False
        self._looking: asyncio.Task[list[Frame]] | None = None
        self._looked_s = 0.0
        self._pos = START
        self._lasts_s = lasts_s
        self._word = ""  # of the token: `expiring`, `expired`
        self._next: asyncio.Task[list[Event]] | None = None

    @property
    def view(self) -> View:
        return self._replay.view

    async def open(self) -> bool:
        """Find the log. False when the viewer has seen its `end`. Raises `Unknown`, and `Gone` when that is known at once."""
        cursor = self._cursor.at
        self._viewer = viewer = await self._gateway.view(self.job, cursor)
        if viewer.ended and self._replay.view.resumable and self._cursor.part is None:
            return False
        ended, self._pos = viewer.ended, viewer.cursor
        if self._replay.reads_after != cursor:
            viewer.close()
            self._viewer = viewer = await self._gateway.view(self.job)
        if ended and self._cursor.part is not None:
            await self._read_ahead(viewer)
            return bool(self._ahead)
        self._next = asyncio.create_task(viewer.next())
        await asyncio.wait({self._next}, timeout=FIRST_S)
        if self._next.done():
            error = self._next.exception()
            if error is not None and not isinstance(error, StopAsyncIteration):
                raise error
            if error is None:
                self._replay.check_first(self._next.result()[0])
        return True

    async def _read_ahead(self, viewer: Viewer) -> None:
        """Read all frames that are left of a job that has ended: whether there are any cannot be told from the cursor."""
        while not self._replay.closed:
            events = asyncio.ensure_future(viewer.next())
            await asyncio.wait({events})
            self._ahead += [group async for group in self._frames(events.result)]

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        if self._looking is not None:
            self._looking.cancel()
        if self._viewer is not None:
            self._viewer.close()

    async def groups(self, gone: asyncio.Future[Any]) -> AsyncGenerator[list[Frame]]:
        """Yield groups of frames; an empty one whenever nothing came for a heartbeat. Ends by itself, or when `gone` is
        done."""
        viewer = self._viewer
        assert viewer is not None
        self._lead = self._replay.opening()
        if self._lead and not self.unsent:
            yield self._led([])
        for group in self._ahead:
            yield group
        if self._cursor.at == "now" and self._replay.reads_after == "now":
            yield [local(Position(str(self._pos)))]
        drain = asyncio.create_task(self._gateway.draining.wait())

        def wake(_: Any) -> None:
            viewer.wake()

        for end in (drain, gone):
            end.add_done_callback(wake)
        silence = InactivityTimer(self._gateway.settings.heartbeat_s, self._on_silence)
        timers = self._timers()
        if self.unsent:  # proxies and clients with idle time-outs stay
            timers.append(asyncio.get_running_loop().call_later(self._gateway.settings.heartbeat_s, self._on_head_due))
        try:
            while not self._replay.closed:
                word, self._word = self._word, ""  # taken first: the next may come while this one is being sent
                if word == "expired":
                    self.last = "expired"
                    yield [Frame(None, data) for data in self._replay.view.interrupted(EXPIRED)]
                    return
                if word and self._replay.view.knows_notices:
                    yield [local(AuthExpiring(round(1000 * min(EXPIRING_S, self._lasts_s or 0))))]
                self._silent = False
                silence.start()
                more = await self._more(viewer, drain, gone)
                if gone.done():
                    return
                if more is not None:
                    async for group in self._frames(more):
                        yield self._led(group)
                    if self.unsent and self._head_due:
                        yield self._led([])
                elif drain.done():
                    self.last = "drain"
                    self.problem = ApiError(503, "interrupted", f"{DRAINING}; {self.job} goes on")
                    yield [Frame(None, data) for data in self._replay.view.interrupted(DRAINING)]
                    return
                elif not self._word:
                    yield self._led(self._beside())
            self.last = self.last or "end"
        finally:
            silence.close()
            for timer in timers:
                timer.cancel()
            gone.remove_done_callback(wake)
            drain.cancel()

    def _led(self, group: list[Frame]) -> list[Frame]:
        """Return `group` after what waits for a head to be sent."""
        lead, self._lead = self._lead, []
        return [*lead, *group]

    def _timers(self) -> list[asyncio.TimerHandle]:
        """Return what will be said of the token."""
        if self._lasts_s is None:
            return []
        later = asyncio.get_running_loop().call_later
        warned_s = max(0, self._lasts_s - EXPIRING_S)
        return [later(warned_s, self._on_word, "expiring"), later(self._lasts_s, self._on_word, "expired")]

    def _on_word(self, word: str) -> None:
        self._word = word
        if self._viewer is not None:
            self._viewer.wake()

    def _beside(self) -> list[Frame]:
        """Return what is said in place of a heartbeat. The ledger is asked aside: it may be away, and the heartbeat must come."""
        now_s = asyncio.get_running_loop().time()
        if self._looking is not None and self._looking.done():
            looked, self._looking = self._looking, None
            return looked.result()
        if self._looking is None and self._replay.view.knows_notices and not self._told and now_s > self._looked_s:
            self._looked_s = now_s + LOOK_AGAIN_S
            self._looking = asyncio.create_task(self._stalled())
        return []

    async def _stalled(self) -> list[Frame]:
        """Return what a viewer that knows notices is told once, when nobody seems to work on the job."""
        ledger, now_ms = self._gateway.client.ledger, time.time() * 1000
        try:
            stands = await stands_since(ledger, self.job)
        except UNAVAILABLE:
            return []
        if stands is None or now_ms - stands[1] < STALLED_MS[stands[0]]:
            return []
        self._told = True
        why = (
            "no worker has taken it for ten minutes"
            if stands[0] == JobState.QUEUED
            else "its worker was lost, and no other has taken it"
        )
        return [local(Status(phase="stalled", detail=why))]

    def _on_silence(self) -> None:
        self._silent = True
        if self._viewer is not None:
            self._viewer.wake()

    def _on_head_due(self) -> None:
        self._head_due = True
        if self._viewer is not None:
            self._viewer.wake()

    async def _more(self, viewer: Viewer, *ends: asyncio.Future[Any]) -> Callable[[], list[Event]] | None:
        """Return the next events, or what raises in their place; None after a heartbeat's silence, or when one of `ends` is
        done."""
        if self._next is None:
            while not any(end.done() for end in ends):
                events = viewer.at_hand()
                if events:
                    return lambda: events
                if events is None:
                    break
                if self._silent or self._word or (self.unsent and self._head_due):
                    return None
                await viewer.news()
            else:
                return None
            self._next = asyncio.create_task(viewer.next())
        heartbeat_s = self._gateway.settings.heartbeat_s
        await asyncio.wait({self._next, *ends}, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
        if not self._next.done():
            return None
        task, self._next = self._next, None
        return task.result

    async def _frames(self, events: Callable[[], list[Event]]) -> AsyncGenerator[list[Frame]]:
        group: list[Frame] = []
        size = 0
        try:
            following = events()
            # Of a job that has ended no other attempt can follow.
            is_open = self._replay.view.irrevocable and not following[-1].data.startswith(END)
            for event in following:
                if self._replay.view.holds:
                    event = await self._restored(event)
                    if event is None:
                        continue
                if is_open and not await self._may_show(event):
                    continue
                for frame in self._replay.add(event):
                    group.append(frame)
                    size += len(frame.data)
                if self.unsent and self._has_problem(event):
                    self._replay.view.closed = True
                    yield group
                    return
                if size > GROUP_BYTES:
                    yield group
                    group, size = [], 0
                if self._replay.closed:
                    break
        except StopAsyncIteration:
            self._replay.view.closed = True
        except Gone as error:
            self.last, self.problem = "gone", api_error(error)
            view = self._replay.view
            view.closed = True
            # A client without notices would take the end of the connection for the end of the answer.
            group += [self._gap(error)] if view.knows_notices else [Frame(None, data) for data in view.lost(str(error))]
        except HeadraceError as error:
            self.last = "failed"
            self._replay.view.closed = True
            self.problem = api_error(error)
            group += [Frame(None, data) for data in self._replay.view.interrupted(str(self.problem))]
        if group:
            yield group

    def _has_problem(self, event: Event) -> bool:
        """Set `problem` after `event` where the response is to be another than a stream of frames."""
        if self._replay.view.failure is not None:
            self.last, self.problem = "end", failed(self.job, Failure(*self._replay.view.failure))
        elif self._patience_s is not None and (limited := limit_of(event, self.job, self._patience_s)) is not None:
            self.last, self.problem = "limited", limited
        return self.problem is not None

    def _gap(self, error: Gone) -> Frame:
        first = str(EventId(*error.first)) if error.first else None
        result = f"/v1/jobs/{self.job}"
        return local(GapNotice(str(self._cursor.at), first, result))

    async def _restored(self, event: Event) -> Event | None:
        """Return the event without the text of a lowered schema's answer, which is not the answer: that is put before `end`."""
        if event.data.startswith((ROUTE, SNAPSHOT)):
            told = event.decode(self.job)
            if isinstance(told, AttemptRoute):
                self._held = told.lowered
            elif isinstance(told, Snapshot):
                self._held = bool(told.route.get("lowered"))
                if self._held:
                    silent = msgspec.structs.replace(told, message=told.message | {"content": None})
                    return Event(event.id, msgspec.json.encode(silent))
        elif self._held and event.data.startswith(FIRST_TEXT):
            return None
        elif event.data.startswith(END) and (self._held or self._replay.view.settles):
            await self._settle(event)
        return event

    async def _settle(self, event: Event) -> None:
        ended_ms, outcome = await self._gateway.end_of(self.job)
        if self._held:
            if outcome is None:
                raise Expired(self.job, "it ended, and its result is past its lifetime (`ttl_s` of its submission)")
            self._say(outcome, event.id)
        self._replay.view.settle(outcome, ended_ms)

    async def _may_show(self, event: Event) -> bool:
        """Tell the ledger, before the first part of an attempt is shown, that it is. False when another one has begun: the
        viewer is shown that instead."""
        if event.id.epoch == self._shown or event.data.startswith(NO_ANSWER):
            return True
        try:
            await retry_read(lambda: show(self._gateway.client.ledger, self.job, event.id.epoch))
        except Fenced:
            return False
        except Unknown:  # its log is all that is left of it
            pass
        self._shown = event.id.epoch
        return True

    def _say(self, outcome: Outcome | None, at: EventId) -> None:
        completion = outcome.completion if outcome else None
        if completion is None:
            return
        if completion.structured:
            self._replay.put(at, msgspec.json.encode(completion.value).decode())
        elif completion.content is not None:
            self._replay.put(at, completion.content)


def local(notice: Notice | Status) -> Frame:
    """Return a frame of the gateway's own: it has no id, for it is in no log."""
    return Frame(None, msgspec.json.encode(notice))
