"""Notices: the gateway's own frames between the events of a log. They are in no log, so they have no id; a view declares if
its clients know them. A `status` with the phase `stalled` is one too."""

from __future__ import annotations

from msgspec import Struct


class Notice(Struct, tag_field="t", tag=""):
    """A frame of the gateway's own."""


class Position(Notice, tag="pos"):
    """The place where `now` was."""

    at: str  # the id of the last event before


class AuthExpiring(Notice, tag="auth.expiring"):
    """The token that the stream was opened with ends soon."""

    in_ms: int


class GapNotice(Notice, tag="gap"):
    """The events after the cursor are gone: the last frame."""

    requested: str  # the cursor
    first: str | None  # the first event that is still there
    result: str  # where the answer is


class Bye(Notice, tag="bye"):
    """This connection ends before the job: come back."""

    reason: str  # for people
    reconnect_ms: int = 500


class Heartbeat(Notice, tag="hb"):
    """Nothing else was said for a while. On a WebSocket."""


class CancelledNotice(Notice, tag="cancelled"):
    """The answer to `cancel`. On a WebSocket."""

    state: str  # of the job


class SubscriptionClosed(Notice, tag="closed"):
    """A subscription is over. On a WebSocket."""

    code: int  # why
    message: str  # for people
