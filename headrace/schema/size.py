"""The limits of a JSON Schema's size: one larger than any real one is refused before anything is compiled."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from headrace.errors import SHOWN, SchemaError
from headrace.schema.subschemas import escaped

MAX_PLACES = 20_000
"""Maximal number of objects and lists in one schema; real ones have some hundreds."""
MAX_VALUES = 50_000
MAX_DEPTH = 100
MAX_TEXT = 1 << 20
MAX_POINTER_TEXT = 8 << 20
"""Maximal characters of the JSON Pointers to all parts: a long name is in the pointer of whatever lies below it."""


class _Step(NamedTuple):
    """A value on the way down, and how it was reached: pointers are written only where one is told."""

    value: Any
    above: _Step | None
    step: str | int
    depth: int
    pointer_chars: int

    @property
    def pointer(self) -> str:
        steps, here = list[str](), self
        while here.above is not None:
            steps.append(escaped(here.step))
            here = here.above
        return "".join(f"/{step}" for step in reversed(steps))


def check_size(schema: Any) -> int:
    """Return how many objects and lists a schema has. Raises `SchemaError` for one that is larger than any real one, naming the
    place; looks no further than that."""
    places = values = text = pointers = 0
    waiting = [_Step(schema, None, "", 0, 0)]
    while waiting:
        at = waiting.pop()
        here = at.value
        places += 1
        pointers += at.pointer_chars
        values += len(here)
        if values <= MAX_VALUES:
            for step, inner in here.items() if isinstance(here, dict) else enumerate(here):
                below = _Step(inner, at, step, at.depth + 1, at.pointer_chars + len(str(step)) + 1)
                if isinstance(inner, dict | list):
                    waiting.append(below)
                elif isinstance(inner, str):
                    text += len(inner)
                elif not isinstance(inner, int | float | None) or (
                    isinstance(inner, float) and not math.isfinite(inner)
                ):
                    raise not_json(below.pointer, inner)
                if not isinstance(step, str | int) or (isinstance(here, dict) and not isinstance(step, str)):
                    raise not_json(at.pointer, step)
                if isinstance(step, str):
                    text += len(step)
        for what, count, limit in (
            ("nested too deep", at.depth, MAX_DEPTH),
            ("too many parts", places, MAX_PLACES),
            ("too many values", values, MAX_VALUES),
            ("too much text", text, MAX_TEXT),
            ("too much text in the names on the way to its parts", pointers, MAX_POINTER_TEXT),
        ):
            if count > limit:
                pointer = at.pointer
                raise SchemaError(
                    f"schema at {pointer[:SHOWN] or '/'}: {what}: {limit} is the most",
                    pointer=pointer,
                    keyword=pointer.rpartition("/")[2],
                    remedy="describe less: fewer values, shorter names, a flatter shape, or a text where the detail does not "
                    "matter",
                )
    return places


def not_json(where: str, value: Any) -> SchemaError:
    return SchemaError(
        f"schema at {where or '/'}: {value!r:.80} is nothing that JSON has",
        pointer=where,
        keyword=where.rpartition("/")[2] or "json",
        remedy="use texts, finite numbers, booleans, null, lists, and objects with texts as names",
    )
