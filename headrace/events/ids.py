"""Event ids, `<epoch>-<seq>`: the same in the Redis Stream, in an SSE id and as a cursor.

An epoch is one attempt: milliseconds of the server's clock, strictly increasing. `seq` counts 1, 2, 3 … within it, and
number 1 is always `attempt.start`. The types of events and their fields: `types.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

from headrace.errors import Damaged, InputError
from headrace.events.types import BatchEvent, JobEvent, decode_batch_event, decode_job_event
from headrace.text.readable import UNREADABLE

T = TypeVar("T")

FORM = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


class EventId(NamedTuple):
    """The position of an event in its log; a larger one is later. As text: `17-4`."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @staticmethod
    def parse(text: str) -> EventId:
        """Parse an id. Raises `InputError` for everything that is not `<digits>-<digits>`."""
        form = FORM.fullmatch(text) if isinstance(text, str) else None
        if form is None:
            raise InputError(f"{text!r:.60} is no id of an event: write it as it came, such as `1764080000000-4`")
        return EventId(int(form[1]), int(form[2]))

    def follows(self, other: EventId) -> bool:
        """Return True if no event is missing between `other` and this one: it is the next number, or the start of a later
        attempt."""
        if self.epoch == other.epoch:
            return self.seq == other.seq + 1
        return self.epoch > other.epoch and self.seq == 1


START = EventId(0, 0)
"""The cursor before the first event."""


class Event(NamedTuple):
    """One entry of a log. `data` is the JSON object as it is stored; the id is not in it."""

    id: EventId
    data: bytes

    def decode(self, record: str) -> JobEvent:
        """Decode the event, of the log of the job `record`. Raises `Damaged` for one that no writer of ours has written."""
        return self._read(decode_job_event, record)

    def decode_batch(self, record: str) -> BatchEvent:
        """Decode an event of a batch's log, as `decode` does one of a job's."""
        return self._read(decode_batch_event, record)

    def _read(self, decode: Callable[[bytes], T], record: str) -> T:
        try:
            return decode(self.data)
        except UNREADABLE as error:
            raise Damaged(record, f"event {self.id} cannot be read: {error!s:.200}") from None


def parse_cursor(text: str | None) -> EventId | Literal["now"]:
    """Parse a viewer's cursor: after an event id, from the start (nothing, `0`, `-1`), or `now` (`$`).

    Raises `InputError` for any other text.
    """
    if text is None or text in ("", "0", "-1"):
        return START
    if text in ("now", "$"):
        return "now"
    return EventId.parse(text)
