"""The stream of one job: its events, its text deltas, or its partial objects, folded from the event log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from headrace.chat.provider_table import PROVIDERS
from headrace.client.event_dict import EventDict, job_event_dict
from headrace.errors import CODES, Damaged, Failure, InputError, JobFailed, Restarted
from headrace.events.fold import Fold
from headrace.events.ids import START, Event, EventId, parse_cursor
from headrace.events.types import AttemptStart, End, JobEvent, Snapshot, TextDelta
from headrace.schema.modes import checked_mode
from headrace.schema.partial import Partial

if TYPE_CHECKING:
    from headrace.client.backend import Backend


class Parts(Protocol):
    """A reducer over the events of one job: returns the values that each event adds."""

    def of(self, event: JobEvent, fold: Fold) -> list[Any]: ...


class TextPieces:
    """A reducer to the text deltas of the first choice. Append-only: text that was yielded is never retracted."""

    def __init__(self, subject: str):
        self._subject = subject
        self._given: list[str] = []
        self._anew = False  # a new attempt, or a snapshot: what was given has to be its beginning

    def of(self, event: JobEvent, fold: Fold) -> list[str]:
        """Return the text that `event` adds; `fold` includes it already. Raises `Restarted` when a new attempt's text does
        not begin with what was yielded, and `JobFailed` at the end of a job without an answer."""
        if isinstance(event, AttemptStart | Snapshot):
            self._anew = bool(self._given) or isinstance(event, Snapshot)
        if isinstance(event, End) and event.status != "succeeded":
            raise JobFailed(self._subject, failure_of(event, "".join(self._given)))
        if self._anew:
            return [more] if (more := self._catch_up(fold, ended=isinstance(event, End))) else []
        if isinstance(event, TextDelta) and event.c == 0 and event.d:
            self._given.append(event.d)
            return [event.d]
        return []

    def _catch_up(self, fold: Fold, *, ended: bool) -> str:
        given, whole = "".join(self._given), "".join(fold.choice(0).text)
        if not whole.startswith(given) and (ended or not given.startswith(whole)):
            raise Restarted(self._subject)
        self._anew = len(whole) < len(given)
        more = whole[len(given) :]
        if more:
            self._given = [whole]
        return more


class PartialObjects:
    """A reducer to the partial objects of the first choice's structured answer (`headrace.schema.partial`)."""

    def __init__(self, subject: str, schema: dict[str, Any]):
        self._subject = subject
        self._schema = schema
        self._partial: Partial | None = None

    def of(self, event: JobEvent, fold: Fold) -> list[Any]:
        """Return the partial objects that `event` completes; `fold` includes it already. Raises `JobFailed` at the end of a
        job without an answer."""
        match event:
            case TextDelta(c=0, d=d):
                return self._grown(fold).feed(d)
            case AttemptStart():
                self._partial = None
            case Snapshot():
                self._partial = None
                return self._grown(fold).feed("".join(fold.choice(0).text))
            case End(status=status) if status != "succeeded":
                raise JobFailed(self._subject, failure_of(event, "".join(fold.choice(0).text)))
            case _:
                pass
        return []

    def _grown(self, fold: Fold) -> Partial:
        if self._partial is None:
            provider = PROVIDERS.get(fold.route.provider) if fold.route else None
            mode = checked_mode(fold.route.mode if fold.route else None) or "strict"
            self._partial = Partial(self._schema, mode, provider.dialect if provider else "openai")
        return self._partial


class AsyncJobStream:
    """The events of one job, from its log: `async for event in job.stream()`. Each is a dict with its `id` and its type
    `t`; its `event` is the same as one of `headrace.events.types`.

    A late reader gets everything from the start. A new attempt begins with `attempt.start`; with `reset` it replaces what
    was shown. The stream ends after `end`, also when the job failed. `fold` is the reduced state of the events so far, and
    `cursor` the position to resume from: `job.stream(after=cursor)`.
    """

    def __init__(
        self,
        backend: Backend,
        job_id: str,
        after: str | None = None,
        *,
        schema: dict[str, Any] | None = None,
    ):
        self.fold = Fold()
        self._schema = schema
        self._backend = backend
        self._job_id = job_id
        self._after: EventId | Literal["now"] = parse_cursor(after)

    @property
    def cursor(self) -> str:
        """The id of the last event that was yielded; `now` or `0-0` before the first."""
        return str(self._after)

    def __aiter__(self) -> AsyncGenerator[EventDict[JobEvent]]:
        return self._events()

    async def _events(self) -> AsyncGenerator[EventDict[JobEvent]]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for event in page:
                    self.take(event)
                    yield event

    def take(self, event: EventDict[JobEvent]) -> None:
        """Advance `fold` and `cursor` past `event`. Raises `Damaged` for an event that the fold cannot read."""
        self._take(EventId.parse(event["id"]), event.event)

    def _take(self, id: EventId, event: JobEvent) -> None:
        try:
            self.fold.add(event)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, msgspec.ValidationError):
            raise Damaged(self._job_id, f"event {id} cannot be read") from None
        self._after = id

    async def text_deltas(self) -> AsyncGenerator[str]:
        """Yield the text of the answer as it comes. Raises `JobFailed` at the end of a job without an answer, and
        `Restarted` when a new attempt's text does not begin with what was yielded."""
        async with aclosing(self.text_pages()) as pages:
            async for page in pages:
                for text in page:
                    yield text

    async def pages(self) -> AsyncGenerator[list[EventDict[JobEvent]]]:
        """Yield the events in batches, as they came. Unlike iteration it does not advance the cursor: call `take` for each
        event."""
        async with aclosing(self._groups()) as groups:
            async for group in groups:
                yield [job_event_dict(entry, self._job_id) for entry in group]

    async def _groups(self) -> AsyncGenerator[list[Event]]:
        with await self._backend.job_log(self._job_id, self._after) as viewer:
            while True:
                try:
                    group = await viewer.next()
                except StopAsyncIteration:
                    return
                yield group

    async def partial_objects(self) -> AsyncGenerator[Any]:
        """Yield the structured answer as it grows, once for each field that is complete: plain values in the shape of the
        caller's schema, without the fields that have not come yet. They are not validated; `result()` of the job is. A new
        attempt starts over. Raises `JobFailed` at the end of a job without an answer, `InputError` for a job without a
        schema."""
        async with aclosing(self.object_pages()) as pages:
            async for page in pages:
                for value in page:
                    yield value

    def text_pages(self) -> AsyncGenerator[list[str]]:
        """Yield text deltas in batches. An error is raised after the deltas that came before it."""
        return self._parts(TextPieces(self._job_id))

    def object_pages(self) -> AsyncGenerator[list[Any]]:
        """Yield partial objects in batches. Raises `InputError` without a schema, and with `after`."""
        if self._after != START:
            raise InputError("partial_objects: an answer grows from its start; leave out `after`")
        if self._schema is None:
            raise InputError(
                "partial_objects: what the answer looks like is not known; give `schema` to `job(id, schema=…)`"
            )
        return self._parts(PartialObjects(self._job_id, self._schema))

    async def _parts(self, parts: Parts) -> AsyncGenerator[list[Any]]:
        async with aclosing(self._groups()) as groups:
            async for group in groups:
                found, failure = [], None
                for id, event in [(entry.id, entry.decode(self._job_id)) for entry in group]:
                    self._take(id, event)
                    try:
                        found += parts.of(event, self.fold)
                    except (JobFailed, Restarted) as error:
                        failure = error
                        break
                if found:
                    yield found
                if failure is not None:
                    raise failure


def failure_of(end: End, partial: str) -> Failure:
    """Return the failure in an `end` event, with the text so far as its `partial`."""
    error = end.error or {}
    code = error.get("code") or {"cancelled": "cancelled", "dead": "worker_lost"}.get(end.status, "provider_error")
    remedy = CODES[code].remedy if code in CODES else ""
    return Failure(code, error.get("message") or remedy, error.get("provider_status"), partial or None)
