"""The events of a log and how they are numbered: `<epoch>-<seq>`, the same in the Stream, in an SSE id and as a cursor.

An epoch is one attempt, in milliseconds of the server's clock, forced to grow; `seq` counts 1, 2, 3 … inside it, and number 1
is always `attempt.start`. The types of events and their fields: docs/architecture.md.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from headrace.errors import Damaged, InputError
from headrace.text.readable import UNREADABLE

FORM = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


OF_BATCH = ("total", "succeeded", "failed", "cancelled", "dead", "at", "input_tokens", "output_tokens")
FIELDS: dict[str, type] = {
    **dict.fromkeys(("t", "d", "reason", "provider", "model", "deployment", "phase", "detail", "status"), str),
    **dict.fromkeys(("call_id", "name", "type", "tr", "audio_id"), str),
    **dict.fromkeys(("n", "c", "i", "p"), int),
    **dict.fromkeys(OF_BATCH, int),
    "state": str,
    **dict.fromkeys(("reset",), bool),
    **dict.fromkeys(("u", "message", "o"), dict),
}
"""Fields that are of one type in every event that has them."""
DELTAS = frozenset({"text.delta", "reasoning.delta"})
NEEDED = {
    "attempt.start": ("n",),
    "attempt.route": ("provider", "model", "deployment"),
    "status": ("phase", "detail"),
    "text.delta": ("d",),
    "reasoning.delta": ("d",),
    "refusal.delta": ("d",),
    "end": ("status",),
}


class EventId(NamedTuple):
    """The place of an event in its log; a larger one is later. As text: `17-4`."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @staticmethod
    def parse(text: str) -> EventId:
        """The id that `text` is. Raises `InputError` for everything that is not `<digits>-<digits>`."""
        form = FORM.fullmatch(text) if isinstance(text, str) else None
        if form is None:
            raise InputError(f"{text!r:.60} is no id of an event: write it as it came, such as `1764080000000-4`")
        return EventId(int(form[1]), int(form[2]))

    def follows(self, other: EventId) -> bool:
        """Return whether nothing lies between `other` and this one: the next number, or the start of a later attempt."""
        if self.epoch == other.epoch:
            return self.seq == other.seq + 1
        return self.epoch > other.epoch and self.seq == 1


START = EventId(0, 0)
"""Before every event."""


class Event(NamedTuple):
    """One entry of a log. `data` is the JSON object as it is stored; the id is not in it."""

    id: EventId
    data: bytes

    def decode(self) -> dict[str, Any]:
        return msgspec.json.decode(self.data)

    def checked(self, record: str) -> dict[str, Any]:
        """`decode`, for whoever relies on its fields. Raises `Damaged` about `record` for what no writer of ours has written; a
        type that is not known here has any fields."""
        try:
            data = self.decode()
        except UNREADABLE:
            raise Damaged(record, f"event {self.id} is no JSON") from None
        kind = data.get("t") if isinstance(data, dict) else None
        if not isinstance(kind, str):
            raise Damaged(record, f"event {self.id} is no event")
        if kind in DELTAS and type(data.get("d")) is str and type(data.get("c", 0)) is int:
            return data  # most events are one, and thousands come in a second
        for name, value in data.items():
            wanted = FIELDS.get(name)
            if wanted is not None and value is not None and type(value) is not wanted:
                raise Damaged(record, f"event {self.id}: {name} is no {wanted.__name__}")
        missing = [name for name in (OF_BATCH if "state" in data else NEEDED.get(kind, ())) if data.get(name) is None]
        if missing:
            raise Damaged(record, f"event {self.id}: {missing[0]} is missing")
        return data


def parse_cursor(text: str | None) -> EventId | Literal["now"]:
    """Where a viewer wants to go on: after an event it has seen, from the start (nothing, `0`, `-1`), or `now` (`$`).

    Raises `InputError` for any other text.
    """
    if text is None or text in ("", "0", "-1"):
        return START
    if text in ("now", "$"):
        return "now"
    return EventId.parse(text)
