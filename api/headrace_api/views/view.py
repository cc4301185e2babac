"""Views: frames, their ids, cursors, and the base class."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, NamedTuple

import msgspec

from headrace.chat.chat_object import usage_object
from headrace.chat.completion import Outcome, Usage
from headrace.errors import InputError
from headrace.events.ids import START, EventId, parse_cursor
from headrace.events.types import End, JobEvent, JsonObject

encode = msgspec.json.Encoder().encode
SUB_ID = re.compile(r"(?:(job_[a-z2-7]{26}):)?([0-9]{1,15}-[0-9]{1,15})(?:\.([0-9]{1,9}))?")


class Frame(NamedTuple):
    """One unit of a stream. `data` is one line of text, nearly always JSON; `id` is None for frames that are not in the log."""

    id: str | None
    data: bytes


class Cursor(NamedTuple):
    """The position to resume after: the `part`-th frame (from 0) of the event `at`; None: all of its frames."""

    at: EventId | Literal["now"] = START
    part: int | None = None

    @staticmethod
    def parse(text: str | None, job: str) -> Cursor:
        """Parse a `Last-Event-ID` or an `after`: the texts of `parse_cursor`, and `<e>-<s>.<k>`, each optionally after
        `<job>:`.

        Raises `InputError` for anything else, and for the id of another job.
        """
        form = SUB_ID.fullmatch(text) if text else None
        if form is None:
            return Cursor(parse_cursor(text))
        if form[1] not in (None, job):
            raise InputError(f"the cursor {text!r:.80} belongs to another job")
        return Cursor(EventId.parse(form[2]), None if form[3] is None else int(form[3]))

    def passed(self, id: EventId, part: int) -> bool:
        """Return True if the viewer has seen that frame."""
        if self.at == "now" or id != self.at:
            return self.at != "now" and id < self.at
        return self.part is None or part <= self.part


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a job that a view needs beside its events. `options` are those of the request for the view."""

    job: str
    model: str = ""
    thread: str = ""
    run: str = ""
    include_usage: bool = False
    request: JsonObject | None = None
    created_s: int = 0
    starting_after: int | None = None


class View:
    """A reducer from events to frames. `add` takes the events of a job from an attempt's start on; `closed` is True after
    the last frame.

    `resumable`: a viewer may be given frames after a cursor, instead of all of them. `holds`: for a lowered schema text
    deltas are withheld, and the answer is one frame at the end. `verbatim`: its frames are the stored events, byte for byte
    and under their own ids, so that nothing is decoded and `add` is not called. `knows_notices`: its clients know the
    gateway's own frames (`streaming/notices.py`). `has_ids`: its frames are sent with their ids. `named`: they are sent with the
    `type` that they begin with as the name of the event. `irrevocable`: before it is given a part of an attempt's answer, the
    ledger is told that no other attempt may follow. `settles`: before it is given the `end`, it is given the job's outcome.
    """

    name: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}
    resumable: ClassVar[bool] = True
    holds: ClassVar[bool] = False
    id_names_job: ClassVar[bool] = False
    verbatim: ClassVar[bool] = False
    knows_notices: ClassVar[bool] = False
    has_ids: ClassVar[bool] = True
    named: ClassVar[bool] = False
    irrevocable: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def __init__(self, subject: Subject):
        self.subject = subject
        self.closed = False
        self.failure: tuple[str, str] | None = None  # code and message of a job that failed before anything was shown

    @classmethod
    def check_cursor(cls, cursor: Cursor) -> None:
        """Raise `InputError` for a cursor that is no frame of this view."""
        if cls.verbatim and cursor.part is not None:
            raise InputError("the cursor is one of another view: a native one is `<epoch>-<seq>`")

    def opening(self) -> list[bytes]:
        """Return the frames before those of the first event."""
        return []

    def check_first(self, event: JobEvent) -> None:
        """Raise `Gone` when the log begins with an event from which the viewer's cursor cannot be found."""

    def settle(self, outcome: Outcome | None, ended_ms: int | None) -> None:
        """Take the job's outcome, None if it is past its lifetime, and the time at which it ended."""

    def add(self, id: EventId, event: JobEvent) -> list[bytes]:
        """Return the frames of one event."""
        raise NotImplementedError

    def superseded(self) -> list[bytes]:
        """Return the frames for a viewer that was shown an attempt which a new one has replaced."""
        raise NotImplementedError

    def lost(self, why: str) -> list[bytes]:
        """Return the frames for a viewer whose next events were trimmed: its client must not reconnect for them."""
        return self.interrupted(why)

    def interrupted(self, why: str) -> list[bytes]:
        """Return the frames that end this connection early (not the job); none where the client handles a close."""
        return []


def usage_of(event: End) -> JsonObject | None:
    """Return an event's `usage` as OpenAI's usage object; None when it is unknown."""
    raw = event.usage or {}
    if "prompt_tokens" in raw or not raw:
        return raw or None
    try:
        return usage_object(msgspec.convert(raw, Usage))
    except msgspec.ValidationError:
        return None


def finish_reasons(event: End) -> list[tuple[int, str]]:
    """Return `(choice, reason)` of an `end`."""
    return [(one.c, one.reason or "stop") for one in event.finish or ()] or [(0, "stop")]


def failure_of(event: End) -> tuple[str, str] | None:
    """Return `(code, message)` of an `end` without success, else None."""
    if event.status == "succeeded":
        return None
    error = event.error or {}
    code = error.get("code") or event.status
    return code, error.get("message") or {"cancelled": "the job was cancelled"}.get(code, f"the job ended: {code}")
