"""Which part of a message is open: for formats that say where a text begins and ends, from events that may not."""

from __future__ import annotations

from typing import Any, NamedTuple

KINDS = {"text.delta": "text", "reasoning.delta": "reasoning", "refusal.delta": "text"}


class Part(NamedTuple):
    kind: str
    id: str


class OpenParts:
    """At most one text or reasoning is open at a time, and it closes where another begins; any number of tool calls are."""

    def __init__(self) -> None:
        self.part: Part | None = None
        self._source: tuple[Any, ...] | None = None
        self._count = 0
        self.tools: dict[int, OpenToolCall] = {}

    def turn_to(self, event: dict[str, Any]) -> tuple[Part | None, Part | None]:
        """`(closed, opened)` before this delta is said; `part` is where it belongs."""
        source = (event["t"], event.get("p", 0))
        if source == self._source:
            return None, None
        closed, self._source = self.part, source
        self.part = Part(KINDS[event["t"]], f"{KINDS[event['t']]}-{self._count}")
        self._count += 1
        return closed, self.part

    def close(self) -> Part | None:
        """The part that was open."""
        closed, self.part, self._source = self.part, None, None
        return closed

    def ends(self, event: dict[str, Any]) -> bool:
        """Return whether a `part.end` is about the part that is open."""
        kind = {"text": "text.delta", "reasoning": "reasoning.delta", "refusal": "refusal.delta"}.get(
            event.get("kind", "")
        )
        return self._source == (kind, event.get("p", 0))


class OpenToolCall:
    """A call on its way: its arguments as far as they have come."""

    def __init__(self, id: str, name: str):
        self.id = id
        self.name = name
        self.pieces: list[str] = []  # of its arguments
