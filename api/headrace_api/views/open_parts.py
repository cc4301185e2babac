"""The open part of a message: for formats that mark where a text begins and ends, from events that may not."""

from __future__ import annotations

from typing import NamedTuple

from headrace.events.types import ReasoningDelta, TextEvent


class Part(NamedTuple):
    kind: str
    id: str


class OpenParts:
    """At most one text or reasoning is open at a time, and ends where another begins; any number of tool calls may be open."""

    def __init__(self) -> None:
        self.part: Part | None = None
        self._source: tuple[type[TextEvent], int] | None = None
        self._count = 0
        self.tools: dict[int, OpenToolCall] = {}

    def turn_to(self, event: TextEvent) -> tuple[Part | None, Part | None]:
        """Return the parts `(closed, opened)` before this delta, which belongs to `part`."""
        source = type(event), event.p
        if source == self._source:
            return None, None
        closed, self._source = self.part, source
        kind = "reasoning" if isinstance(event, ReasoningDelta) else "text"
        self.part = Part(kind, f"{kind}-{self._count}")
        self._count += 1
        return closed, self.part

    def close(self) -> Part | None:
        """Return the open part."""
        closed, self.part, self._source = self.part, None, None
        return closed


class OpenToolCall:
    """A tool call in progress: its arguments so far."""

    def __init__(self, id: str, name: str):
        self.id = id
        self.name = name
        self.pieces: list[str] = []  # of its arguments
