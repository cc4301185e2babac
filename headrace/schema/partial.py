"""Partial decoding of a structured answer while it streams: its value at each field that is complete.

The text is scanned once, character by character. The value is decoded at the ends of fields, as often as the total cost
stays linear in the length of the text: always in a short answer, ever more rarely in a long one.
"""

from __future__ import annotations

from typing import Any

import jiter

from headrace.errors import InvalidOutput
from headrace.schema.modes import Mode, form_of

FREE_WORK = 1 << 18
WORK_PER_CHAR = 2
"""Characters that may be decoded again per character received, beyond the first `FREE_WORK`: the total cost is linear."""


class Partial:
    """An incremental decoder of one answer; each `feed` returns the partial values, in the caller's shape.

    They are plain values without the fields that have not come yet, so they are not validated. The mode `typed_xml` has
    none.
    """

    def __init__(self, schema: dict[str, Any], mode: Mode = "strict", target: str = "openai"):
        self._lowered = form_of(schema, mode, target).lowered
        self._json = mode != "typed_xml"
        self._pieces: list[str] = []
        self._length = 0
        self._work = 0
        self._depth = 0
        self._in_string = self._escaped = False
        self._last: Any = None

    def feed(self, text: str) -> list[Any]:
        if not self._json:
            return []
        values: list[Any] = []
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        for at, char in enumerate(text, start):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == '"':
                    self._in_string = False
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}],":
                self._depth -= char != ","
                values += self._at(at, whole=self._depth == 0 and char != ",")
                if self._depth <= 0:  # what follows the end of a value is no part of it
                    self._json = False
                    break
        return values

    def _at(self, end: int, *, whole: bool) -> list[Any]:
        """Return the value of the text up to the end of a field, in a list; an empty list while decoding exceeds the work
        budget."""
        allowed = FREE_WORK + WORK_PER_CHAR * end
        if not whole and self._work + end > allowed:
            return []
        self._work += end
        try:
            self._pieces = ["".join(self._pieces)]
            wire = jiter.from_json(self._pieces[0][: end + 1].encode(), partial_mode="on")
            value = self._lowered.restore(wire, plain=True) if self._lowered else wire
        except (ValueError, InvalidOutput, RecursionError):
            return []  # in the middle of an entry, say
        if value == self._last:
            return []
        self._last = value
        return [value]
