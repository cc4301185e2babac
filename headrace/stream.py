"""One job as it comes: its events, or the text of its answer piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import CODES, Failure, JobFailed, Restarted
from headrace.event import EventId, parse_cursor
from headrace.fold import Fold

if TYPE_CHECKING:
    from headrace.reader import Reader


class Texts:
    """What a log adds to the text of the first choice. It only grows: what was given is never taken back."""

    def __init__(self, subject: str):
        self._subject = subject
        self._given: list[str] = []
        self._anew = False  # a new attempt, or a snapshot: what was given has to be its beginning

    def of(self, event: dict[str, Any], fold: Fold) -> str:
        """What `event`, which `fold` has taken in, adds. Raises `Restarted` when the answer is now another one, and
        `JobFailed` at the end of a job without one."""
        kind = event["t"]
        if kind in ("attempt.start", "snapshot"):
            self._anew = bool(self._given) or kind == "snapshot"
        if kind == "end" and event["status"] != "succeeded":
            raise JobFailed(self._subject, failure_of(event, "".join(self._given)))
        if self._anew:
            return self._catch_up(fold, ended=kind == "end")
        if kind == "text.delta" and event.get("c", 0) == 0 and event["d"]:
            self._given.append(event["d"])
            return event["d"]
        return ""

    def _catch_up(self, fold: Fold, *, ended: bool) -> str:
        given, whole = "".join(self._given), "".join(fold.choice(0).text)
        if not whole.startswith(given) and (ended or not given.startswith(whole)):
            raise Restarted(self._subject)
        self._anew = len(whole) < len(given)
        more = whole[len(given) :]
        if more:
            self._given = [whole]
        return more


class AsyncJobStream:
    """The events of one job, from its log: `async for event in job.stream()`. Each is a dict with its `id` and its type `t`.

    Everything from the start comes, however late one begins; a new attempt begins with `attempt.start`, and clears what was
    shown when it says `reset`. It ends after `end`, also when the job failed. `fold` is what has come so far, and `cursor`
    where to go on: `job.stream(after=cursor)`.
    """

    def __init__(self, reader: Reader, record: str, job_id: str, after: str | None = None):
        self.fold = Fold()
        self._reader = reader
        self._record = record
        self._job_id = job_id
        self._after: EventId | Literal["now"] = parse_cursor(after)

    @property
    def cursor(self) -> str:
        """The id of the last event that was given; `now` or `0-0` before the first."""
        return str(self._after)

    def __aiter__(self) -> AsyncGenerator[dict[str, Any]]:
        return self._events()

    async def _events(self) -> AsyncGenerator[dict[str, Any]]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for event in page:
                    self.take(event)
                    yield event

    def take(self, event: dict[str, Any]) -> None:
        """`event` is given out now: `fold` and `cursor` are after it."""
        self.fold.add(event)
        self._after = EventId.parse(event["id"])

    async def text_deltas(self) -> AsyncGenerator[str]:
        """The text of the answer as it comes. Raises `JobFailed` at the end of a job without an answer, and `Restarted` when
        a new attempt says something else than was given already."""
        async with aclosing(self.text_pages()) as pages:
            async for page in pages:
                for text in page:
                    yield text

    async def pages(self) -> AsyncGenerator[list[dict[str, Any]]]:
        """The events in groups, as they came; whoever gives one out has to `take` it."""
        with await self._reader.view(self._record, self._after) as viewer:
            while True:
                try:
                    group = await viewer.next()
                except StopAsyncIteration:
                    return
                yield [{"id": str(event.id), **event.decode()} for event in group]

    async def text_pages(self) -> AsyncGenerator[list[str]]:
        """The pieces of the text in groups. What ends it is raised after the pieces that came before."""
        texts = Texts(self._job_id)
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                pieces, failure = [], None
                for event in page:
                    self.take(event)
                    try:
                        pieces.append(texts.of(event, self.fold))
                    except (JobFailed, Restarted) as error:
                        failure = error
                        break
                pieces = [piece for piece in pieces if piece]
                if pieces:
                    yield pieces
                if failure is not None:
                    raise failure


def failure_of(end: dict[str, Any], partial: str) -> Failure:
    """The failure that an `end` tells of."""
    error = end.get("error") or {}
    code = error.get("code") or {"cancelled": "cancelled", "dead": "worker_lost"}.get(end["status"], "provider_error")
    remedy = CODES[code].remedy if code in CODES else ""
    return Failure(code, error.get("message") or remedy, error.get("provider_status"), partial or None)
