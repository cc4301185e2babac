"""Values that a strict schema cannot express: on the wire they are JSON text in a string."""

from __future__ import annotations

import json
from typing import Any

from headrace.schema.descriptions import ANY_TEXT
from headrace.schema.merge import canonical, json_type
from headrace.schema.nodes import Node, Shape, ShapeMismatch


class JsonTextEnum(Node):
    """An enum with objects or lists: on the wire the JSON text of one of its values."""

    def __init__(self, values: list[Any]):
        self.values = {json_text(value): value for value in values}
        self._texts = {canonical(value): text for text, value in self.values.items()}

    def restore(self, wire: Any) -> Any:
        if wire in self.values if isinstance(wire, str) else False:
            return self.values[wire]
        raise ShapeMismatch("it must be one of the JSON texts listed")

    def lift(self, value: Any) -> Any:
        text = self._texts.get(canonical(value))
        if text is None:
            raise ShapeMismatch("the value is not one of those allowed")
        return text

    @property
    def few(self) -> frozenset[Any]:
        return frozenset(self.values)

    def shapes(self) -> list[Shape]:
        return [Shape("string", self.few)]


class JsonText(Node):
    """Any value, as JSON text. Text that is no JSON is the value itself."""

    def __init__(self, kinds: set[str] | None = None, said: str = ANY_TEXT):
        self.kinds = kinds  # None: any
        self.said = said

    def restore(self, wire: Any) -> Any:
        if not isinstance(wire, str):
            return wire
        try:
            return json.loads(wire, parse_constant=no_constant, object_pairs_hook=without_loss)
        except (ValueError, RecursionError):
            return wire

    def lift(self, value: Any) -> Any:
        if self.kinds is not None and json_type(value) not in self.kinds:
            raise ShapeMismatch(f"{' or '.join(sorted(self.kinds))} was expected, not {json_type(value)}")
        return json_text(value)

    def shapes(self) -> list[Shape]:
        return [Shape("string")]


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def without_loss(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ShapeMismatch("a name is there twice in one object of the JSON text")
    return made


def no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
