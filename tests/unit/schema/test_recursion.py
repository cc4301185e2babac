"""Places that contain themselves, reached in every way: through references, choices of one, and definitions that are others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from strict_subset import complaints

from headrace.schema import TARGETS, lower

Schema = dict[str, Any]
WAYS = ("oneOf", "anyOf", "allOf", "$ref")
VALUE = {"x": {"y": {}}, "y": {"x": {"x": {}}}}


def by(way: str, pointer: str, **more: Any) -> Schema:
    reference = {"$ref": pointer}
    return {**more, **(reference if way == "$ref" else {way: [reference]})}


def node(x: Schema, y: Schema) -> Schema:
    return {"type": "object", "properties": {"x": x, "y": y}, "additionalProperties": False}


A, B = "#/$defs/A", "#/$defs/B"


def schemas(way: str, inner: str) -> dict[str, tuple[Schema, Any]]:
    there = {"$ref": B}
    return {
        "the root is a choice of one": (by(way, B, **{"$defs": {"B": node(by(inner, "#"), there)}}), VALUE),
        "a definition is": (by(way, A, **{"$defs": {"A": by(inner, B), "B": node({"$ref": A}, there)}}), VALUE),
        "a property is": (
            node(by(way, A), there) | {"$defs": {"A": by(inner, B), "B": node(by(inner, A), by(way, B))}},
            VALUE,
        ),
        "described": (
            by(way, B, title="T", description="t", **{"$defs": {"B": node(by(inner, "#", description="d"), there)}}),
            VALUE,
        ),
        "items are": ({"type": "array", "items": by(way, "#")}, [[], [[]]]),
        "values of a map are": ({"type": "object", "additionalProperties": by(way, "#")}, {"a": {"b": {}}}),
        "places of a tuple are": (
            {"type": "array", "prefixItems": [{"type": "integer"}, by(way, "#")], "items": False},
            [1, [2]],
        ),
        "a definition inside of a definition": (
            by(
                way, f"{A}/$defs/C", **{"$defs": {"A": {"$defs": {"C": node(by(inner, f"{A}/$defs/C"), by(way, "#"))}}}}
            ),
            VALUE,
        ),
    }


@pytest.mark.parametrize("inner", WAYS)
@pytest.mark.parametrize("way", WAYS)
def test_a_definition_that_is_another_one_is_carried(way: str, inner: str) -> None:
    for name, (schema, value) in schemas(way, inner).items():
        for target in TARGETS:
            for reading in ("literal", "intended"):
                lowered = lower(schema, target, reading=reading)
                assert complaints(lowered.wire, target) == [], (name, lowered.wire)
                lowered.validate(value)
                if reading == "literal":
                    assert lowered.restore(json.dumps(lowered.lift(value))) == value, name


def test_rebuilds_nodes_that_refer_to_an_impossible_place() -> None:
    nothing = {"type": "object", "properties": {"a": {"$ref": "#/$defs/L"}, "b": False}, "required": ["b"]}
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/N"}, "y": {"$ref": "#/$defs/L"}},
        "$defs": {"L": {"type": "array", "items": {"$ref": "#/$defs/N"}}, "N": nothing},
        "additionalProperties": False,
    }
    lowered = lower(schema)
    assert complaints(lowered.wire) == []
    assert lowered.restore(lowered.lift({"y": []})) == {"y": []}
