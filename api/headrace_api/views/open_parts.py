"""The part of a message that is open: for formats that say where a text begins and ends, from events that may not."""

from __future__ import annotations

from typing import NamedTuple

from headrace.events.types import ReasoningDelta, TextEvent


class Part(NamedTuple):
    kind: str
    id: str


class OpenParts:
    """At most one text or reasoning is open at a time, and it closes where another begins; any number of tool calls are."""

    def __init__(self) -> None:
        self.part: Part | None = None
        self._source: tuple[type[TextEvent], int] | None = None
        self._count = 0
        self.tools: dict[int, OpenToolCall] = {}

    def turn_to(self, event: TextEvent) -> tuple[Part | None, Part | None]:
        """Return `(closed, opened)` before this delta is said; `part` is where it belongs."""
        source = type(event), event.p
        if source == self._source:
            return None, None
        closed, self._source = self.part, source
        kind = "reasoning" if isinstance(event, ReasoningDelta) else "text"
        self.part = Part(kind, f"{kind}-{self._count}")
        self._count += 1
        return closed, self.part

    def close(self) -> Part | None:
        """Return the part that was open."""
        closed, self.part, self._source = self.part, None, None
        return closed


class OpenToolCall:
    """A call on its way: its arguments as far as they have come."""

    def __init__(self, id: str, name: str):
        self.id = id
        self.name = name
        self.pieces: list[str] = []  # of its arguments
