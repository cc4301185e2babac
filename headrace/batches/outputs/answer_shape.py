"""The shape of answers under a JSON Schema, as far as columns need it: which fields there are, and of which type. A shape says
less than its schema; what it does not tell apart is a cell of JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from headrace.schema.subschemas import pointed

Kind = Literal[
    "string", "integer", "number", "decimal", "boolean", "date", "timestamp", "list", "map", "object", "json"
]
MAX_DEPTH = 24
MAX_INT64 = 2**63 - 1
MAX_SCALE = 18


class AnswerShape(msgspec.Struct, frozen=True):
    """A type of values: of an `object` the shapes of its fields, of a `list` or a `map` that of its items, of a `decimal`
    its digits after the point. An object may have more fields than it lists (`unlisted`)."""

    kind: Kind
    fields: dict[str, AnswerShape] = {}
    items: AnswerShape | None = None
    scale: int = 0

    def unlisted(self, value: Any, at: str = "", *, into_lists: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield what `value` has beside the fields that the schema lists, each with its dotted name; `into_lists` also of objects
        in lists and maps."""
        if self.kind == "object" and isinstance(value, dict):
            for key, inner in value.items():
                name = f"{at}.{key}" if at else key
                if key not in self.fields:
                    yield name, inner
                elif self.fields[key].is_deep:
                    yield from self.fields[key].unlisted(inner, name, into_lists=into_lists)
        elif into_lists and self.items is not None and self.items.is_deep:
            pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, inner in pairs:
                yield from self.items.unlisted(inner, f"{at}[{key}]", into_lists=True)

    def lists_all(self, value: Any) -> bool:
        """Return True if `value`, with what is in its lists and maps, has no field beside those that the schema lists."""
        if self.kind == "object" and isinstance(value, dict):
            if not value.keys() <= self.fields.keys():
                return False
            return all(self.fields[name].lists_all(value.get(name)) for name in self.deep_fields)
        if self.items is not None and self.items.is_deep:
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            return all(map(self.items.lists_all, inner))
        return True

    @property
    def deep_fields(self) -> list[str]:
        return [name for name, shape in self.fields.items() if shape.is_deep]

    @property
    def is_deep(self) -> bool:
        return self.kind == "object" or (self.items is not None and self.items.is_deep)


JSON = AnswerShape("json")
SCALARS: Mapping[str, Kind] = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean"}
FORMATS: Mapping[str, Kind] = {"date": "date", "date-time": "timestamp"}


def answer_shape(schema: Mapping[str, Any]) -> AnswerShape:
    """Return the shape of the values of a schema. References that lead back into themselves are JSON."""
    return _shape(schema, schema, frozenset(), 0)


def _shape(schema: Any, root: Mapping[str, Any], within: frozenset[str], depth: int) -> AnswerShape:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return JSON
    if isinstance(reference := schema.get("$ref"), str):
        if reference in within or (reference != "#" and not reference.startswith("#/")):
            return JSON
        return _shape(pointed(root, reference[1:]), root, within | {reference}, depth + 1)
    for word in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(word), list):
            shapes = [_shape(branch, root, within, depth + 1) for branch in branches if not is_null(branch)]
            return one_of(shapes)
    own = _own_shape(schema, root, within, depth)
    if isinstance(parts := schema.get("allOf"), list):
        shapes = [_shape(part, root, within, depth + 1) for part in parts]
        objects = [shape for shape in (own, *shapes) if shape.kind == "object"]
        if objects:
            return one_of(objects)
        return next((shape for shape in (own, *shapes) if shape.kind != "json"), JSON)
    return own


def _own_shape(schema: Mapping[str, Any], root: Mapping[str, Any], within: frozenset[str], depth: int) -> AnswerShape:
    kinds = schema.get("type", type_of_values(schema))
    kinds = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds or []) if kind != "null"]
    if not kinds:
        kinds = ["object"] if "properties" in schema else ["array"] if "items" in schema else []
    if sorted(kinds) == ["integer", "number"]:
        kinds = ["number"]
    if len(kinds) != 1:
        return JSON
    (kind,) = kinds
    if kind == "object":
        fields = schema.get("properties")
        if isinstance(fields, Mapping) and fields:
            return AnswerShape(
                "object", {name: _shape(inner, root, within, depth + 1) for name, inner in fields.items()}
            )
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            return AnswerShape("map", items=_shape(more, root, within, depth + 1))
        return JSON
    if kind == "array":
        return AnswerShape(
            "list", items=JSON if "prefixItems" in schema else _shape(schema.get("items"), root, within, depth + 1)
        )
    return _scalar(kind, schema)


def _scalar(kind: str, schema: Mapping[str, Any]) -> AnswerShape:
    if kind == "string" and schema.get("format") in FORMATS:
        return AnswerShape(FORMATS[schema["format"]])
    if kind == "number" and (scale := scale_of(schema.get("multipleOf"))):
        return AnswerShape("decimal", scale=scale)
    if kind == "integer" and any(
        isinstance(schema.get(word), int) and abs(schema[word]) > MAX_INT64 for word in ("minimum", "maximum")
    ):
        return AnswerShape("decimal")
    return AnswerShape(SCALARS[kind]) if kind in SCALARS else JSON


def scale_of(step: Any) -> int:
    """Return the digits after the point of numbers that are multiples of 0.1, 0.01 …; 0 for any other step."""
    if not isinstance(step, float) or not 0 < step < 1:
        return 0
    digits = round(-math.log10(step))
    return digits if digits <= MAX_SCALE and step == float(f"1e-{digits}") else 0


def type_of_values(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of the values that a schema without a type lists."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return sorted({names.get(type(value), "any") for value in values if value is not None})


def is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (
        schema.get("type") == "null" or ("const" in schema and schema["const"] is None)
    )


def one_of(shapes: list[AnswerShape]) -> AnswerShape:
    """Return the shape of values that have one of several: of objects all their fields, of anything else what they share."""
    if not shapes:
        return JSON
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    if {shape.kind for shape in shapes} == {"integer", "number"}:
        return AnswerShape("number")
    if any(shape.kind != "object" for shape in shapes):
        return JSON
    fields: dict[str, list[AnswerShape]] = {}
    for shape in shapes:
        for name, inner in shape.fields.items():
            fields.setdefault(name, []).append(inner)
    return AnswerShape("object", {name: one_of(inner) for name, inner in fields.items()})
