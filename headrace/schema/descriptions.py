"""Descriptions, for the model, of values that no keyword can express: JSON text, and an enum of too many values.

The caller's schema is quoted in a shortened form: first its descriptions are dropped, then deep levels, and last everything
but required names and allowed values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headrace.schema.document import Source
from headrace.schema.merge import TYPES, Merged, flatten, merge

MAX_SCHEMA_CHARS = 2_000
"""Maximal characters of a schema in a description."""
MAX_ENUM_CHARS = 16_000
"""Maximal characters of an enum's values in a description."""
MAX_STEPS = 3_000
"""Maximal number of parts that are written in all tries for one schema: some ten milliseconds."""
MAX_LISTED = 100
MAX_BRANCHES = 20
ANY_TEXT = "Any JSON value, written as JSON text."
OBJECT_TEXT = "A JSON object, written as JSON text."
SHAPE_TEXT = "JSON text of a value that fits this schema: "
TRIES = ((12, True), (12, False), (6, False), (4, False), (3, False), (2, False), (1, False), (0, False))
"""Tries, each shorter than the one before: the depth, and whether with descriptions."""
KEPT = ("format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


class TooLong(Exception):
    """The text has too many characters, or took too many steps."""


class DescriptionWriter:
    """Writes the descriptions of one schema."""

    def __init__(self, source: Source):
        self.source = source
        self._steps = 0
        self._left = 0

    def text(self, parts: Sequence[Any], only: set[str] | None = None) -> str:
        """Return the description of a value for which `parts` hold, and which is sent as JSON text; `only` are its types."""
        shape: Any = {}
        for depth, about in TRIES:
            self._left = MAX_SCHEMA_CHARS
            try:
                shape = self.shape(parts, depth, about=about)
                if isinstance(shape, dict):
                    shape.pop("description", None)  # which stands before it
                shown = as_json(shape)
            except TooLong:
                continue
            if len(shown) <= MAX_SCHEMA_CHARS:
                break
        else:
            return OBJECT_TEXT if only == {"object"} else ANY_TEXT
        if shape in ({}, {"type": "object"}):
            return OBJECT_TEXT if shape or only == {"object"} else ANY_TEXT
        return SHAPE_TEXT + shown

    def shape(self, parts: Sequence[Any], depth: int, *, about: bool) -> Any:
        merged = merge(self.source, flatten(self.source, list(parts)), frozenset())
        self._steps += 1
        self._left -= 2 + (5 * len(merged.names) if depth else 0)
        if depth and (self._steps > MAX_STEPS or self._left < 0):
            raise TooLong
        if merged.never:
            return False
        made: dict[str, Any] = {}
        kinds = [kind for kind in TYPES if kind in (merged.types or ()) and not is_implied(kind, merged)]
        if kinds and merged.values is None:
            made["type"] = kinds[0] if len(kinds) == 1 else kinds
        if about and "description" in merged.about:
            made["description"] = merged.about["description"]
            self._left -= len(made["description"])
        if merged.values is not None:
            made["enum"] = listed(merged.values)
        made |= {word: merged.limits[word] for word in KEPT if word in merged.limits}
        if depth > 0:
            made |= self.inside(merged, depth - 1, about=about)
        if merged.required:
            made["required"] = listed(list(merged.required))
        return made

    def inside(self, merged: Merged, depth: int, *, about: bool) -> dict[str, Any]:
        def each(held: Sequence[Any]) -> Any:
            return self.shape(held, depth, about=about)

        made: dict[str, Any] = {}
        if merged.names:
            made["properties"] = {name: each(held) if held else True for name, held in merged.names.items()}
        if merged.patterns:
            made["patternProperties"] = {pattern: each(held) for pattern, held in merged.patterns.items()}
        if merged.rest and (rest := each(merged.rest)) != {}:
            made["additionalProperties"] = rest
        if merged.prefix:
            made["prefixItems"] = [each(held) for held in merged.prefix]
        if merged.items:
            made["items"] = each(merged.items)
        for choice in merged.choices:
            shown = [each([branch]) for branch in choice.branches[:MAX_BRANCHES]]
            more = len(choice.branches) - len(shown)
            made.setdefault(choice.word, [*shown, {"description": f"and {more} more"}] if more else shown)
        return made


def is_implied(kind: str, merged: Merged) -> bool:
    """Return True if a type is implied by another one: every integer is a number."""
    return kind == "integer" and "number" in (merged.types or ())


def listed(values: list[Any]) -> list[Any]:
    return values if len(values) <= MAX_LISTED else [*values[:MAX_LISTED], "…"]


def one_of(values: list[Any], how: str = "One of: ") -> str:
    """Return the description of an enum with too many values for a schema."""
    shown: list[str] = []
    length = 0
    for value in values:
        text = as_json(value)
        length += len(text) + 2
        if length > MAX_ENUM_CHARS:
            return f"{how}{', '.join(shown)}, … ({len(values)} values in all)."
        shown.append(text)
    return f"{how}{', '.join(shown)}."


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
