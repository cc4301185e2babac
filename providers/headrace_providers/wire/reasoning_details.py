"""`reasoning_details`, the provider's own form of a model's reasoning: pieces of a stream put together, signatures untouched."""

from __future__ import annotations

from typing import Any

SEALED = "data"
TEXTS = ("text", "summary")


class ReasoningDetails:
    """The details of one choice, in `parts`. `settle` before these are read."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._growing: dict[str, list[str]] = {}  # pieces of the last detail's texts

    def add(self, detail: Any, *, merge: bool) -> None:
        """Take a detail. Those of a stream come in pieces (`merge`): pieces of one type and index belong together, or no
        signature would hold."""
        last = self.parts[-1] if self.parts else None
        if (
            not merge
            or not isinstance(detail, dict)
            or not isinstance(last, dict)
            or detail.get("index") is None
            or (last.get("type"), last.get("index")) != (detail.get("type"), detail.get("index"))
            or (last.get("id") and detail.get("id") and last["id"] != detail["id"])
        ):
            self.settle()
            self.parts.append(dict(detail) if isinstance(detail, dict) else detail)
            return
        for name, value in detail.items():
            if name == SEALED and value == last.get(name) and name not in self._growing:
                continue  # said again, whole
            if name in (*TEXTS, SEALED) and isinstance(value, str) and isinstance(last.get(name), str):
                self._growing.setdefault(name, [last[name]]).append(value)
            elif value is not None:
                last[name] = value

    def settle(self) -> None:
        for name, pieces in self._growing.items():
            self.parts[-1][name] = "".join(pieces)
        self._growing = {}

    def text(self) -> str:
        """Return what a reader may see of them."""
        parts = [part for part in self.parts if isinstance(part, dict)]
        return "".join(text for part in parts for name in TEXTS if isinstance(text := part.get(name), str))
