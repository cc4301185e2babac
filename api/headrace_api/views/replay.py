"""One viewer's frames: the view is replayed from the attempt's start, and only the frames after the cursor are returned."""

from __future__ import annotations

from headrace.errors import Gone
from headrace.events.ids import START, Event, EventId
from headrace.events.log_buffer import END
from headrace.events.types import Snapshot, Status, TextDelta
from headrace_api.views.view import Cursor, Frame, Subject, View


class Replay:
    """A view with a cursor. Read the log from `reads_after`; `add` returns the frames of an event that are new to the
    viewer."""

    def __init__(self, view: type[View], subject: Subject, cursor: Cursor = Cursor()):  # noqa: B008 (immutable)
        self.view = view(subject)
        self._cursor = cursor if self.view.resumable else Cursor()
        self._first = True
        self._prefix = f"{subject.job}:" if view.id_names_job else ""
        self._verbatim = view.verbatim
        self._before: list[bytes] = []

    @property
    def reads_after(self) -> EventId | str:
        return self._cursor.at if self._verbatim else START

    @property
    def closed(self) -> bool:
        return self.view.closed

    def opening(self) -> list[Frame]:
        """Return the frames before those of the first event."""
        return [Frame(None, data) for data in self.view.opening()]

    def put(self, at: EventId, text: str) -> None:
        """Insert `text` as if it were in the log just before the event `at`, which is added next."""
        self._before = self.view.add(at, TextDelta(d=text))

    def check_first(self, event: Event) -> None:
        """Raise `Gone` when the events after the cursor are only in a snapshot, which this format cannot express."""
        if self._verbatim:
            return
        if not self.view.has_ids:
            self.view.check_first(event.decode(self.view.subject.job))
        if self._cursor.at in (START, "now") or self._cursor.passed(event.id, 0):
            return
        if isinstance(event.decode(self.view.subject.job), Snapshot):
            raise Gone(self.view.subject.job, event.id)

    def add(self, event: Event) -> list[Frame]:
        """Return the frames of the next event. Raises `Gone` as `check_first` does."""
        if self._verbatim:
            self.view.closed = event.data.startswith(END)
            return [Frame(str(event.id), event.data)]
        decoded, seen = event.decode(self.view.subject.job), self._cursor.at
        if self._first and seen not in (START, "now"):
            self._first = False
            self.check_first(event)
            if isinstance(seen, EventId) and seen.epoch != event.id.epoch:
                # It saw another attempt, an earlier one, or one that the ledger has lost. A status has no id here, and
                # number 1 only says that an attempt began: whoever saw no more was shown nothing.
                if seen.seq > 1:
                    return [Frame(f"{self._prefix}{event.id}.0", data) for data in self.view.superseded()]
                self._cursor = Cursor()
        frames = [*self._before, *self.view.add(event.id, decoded)]
        self._before = []
        return [
            Frame(
                None if type(decoded) is Status or not self.view.has_ids else f"{self._prefix}{event.id}.{part}", data
            )
            for part, data in enumerate(frames)
            if not self._cursor.passed(event.id, part)
        ]
