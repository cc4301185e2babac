"""Characters cut in two: what is split by UTF-16 units, as in JavaScript, may have half an emoji at the end of a chunk and the
other half in the next."""

from __future__ import annotations

import re
from typing import Any

LONE = re.compile("[\ud800-\udfff]")
HIGH = re.compile("[\ud800-\udbff]$")
UNKNOWN = "\ufffd"


class Halves:
    """Joins the halves at one place of consecutive chunks. A half that finds no other becomes U+FFFD."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}

    def join(self, value: Any, at: str = "") -> Any:
        """Return the value of JSON with whole characters only. Raises `RecursionError`."""
        if isinstance(value, str):
            return self._text(value, at)
        if isinstance(value, list):
            return [self.join(each, f"{at}/{index}") for index, each in enumerate(value)]
        if isinstance(value, dict):
            return {self._text(name, ""): self.join(each, f"{at}/{name}") for name, each in value.items()}
        return value

    def _text(self, text: str, at: str) -> str:
        text = self._waiting.pop(at, "") + text
        if at and HIGH.search(text):
            self._waiting[at], text = text[-1], text[:-1]
        if LONE.search(text):
            text = LONE.sub(UNKNOWN, text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"))
        return text
