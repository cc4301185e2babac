"""Schemas on their way to strict mode and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from headrace_rehearsal.answers import Prompt, Writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import CallError
from headrace.schema.lower import lower
from headrace.schema.validate import parse_answer

NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta", "entries", "key", "value"])
LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", "b"]},
        {"type": ["string", "null"]},
        {"const": 5},
        {"$ref": "#/$defs/Leaf"},
        {"$ref": "#/$defs/Node"},
    ]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def made(properties: dict[str, Any], optional: set[str], closed: bool) -> dict[str, Any]:
        schema = {"type": "object", "properties": properties, "required": [n for n in properties if n not in optional]}
        return schema | ({"additionalProperties": False} if closed else {})

    properties = st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    return st.builds(made, properties, st.sets(NAMES, max_size=2), st.booleans())


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        objects(inner)
        | st.builds(lambda item: {"type": "array", "items": item, "maxItems": 3}, inner)
        | st.builds(lambda value: {"type": "object", "additionalProperties": value}, inner)
        | st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner)
        | st.builds(lambda one, text: {"allOf": [one], "description": text}, inner, st.sampled_from(["a", "b"]))
    ),
    max_leaves=6,
)
DEFINITIONS = {
    "Leaf": {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "string"}}, "required": ["n"]},
    "Node": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
        "required": ["name"],
    },
}


def strict(wire: Any) -> bool:
    """Whether every object is closed and requires all it has."""
    if isinstance(wire, list):
        return all(map(strict, wire))
    if not isinstance(wire, dict):
        return True
    if wire.get("type") == "object" and "properties" in wire and isinstance(wire.get("required"), list):
        closed = wire.get("additionalProperties") is False and set(wire["required"]) == set(wire["properties"])
        return closed and all(map(strict, wire["properties"].values()))
    return all(strict(value) for name, value in wire.items() if name != "enum")


def misfits(answer: str, schema: dict[str, Any]) -> list[str]:
    try:
        parse_answer(answer, schema)
    except CallError as error:
        return error.details["errors"]
    return []


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(objects(SCHEMAS), st.integers(0, 2**32))
def test_an_answer_to_the_wire_schema_is_valid_under_the_callers(schema: dict[str, Any], seed: int) -> None:
    schema = schema | {"$defs": DEFINITIONS}
    before = msgspec.json.encode(schema)
    lowered = lower(schema)
    assert lowered.obstacle is None
    assert strict(lowered.wire)
    answer = msgspec.json.encode(Writer(Prompt("one two three 4"), seed, lowered.wire).document()).decode()
    # The writer may use a key twice, which is refused; nothing else may be.
    assert all("there twice" in misfit for misfit in misfits(answer, schema)), answer
    assert msgspec.json.encode(schema) == before


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({}, "/properties/a"),
        ({"type": "object"}, "/properties/a"),
        ({"type": "array"}, "/properties/a"),
        ({"type": "array", "items": {}}, "/properties/a/items"),
        ({"type": "array", "prefixItems": [{}], "items": False}, "/properties/a"),
        ({"type": "object", "additionalProperties": {"type": "array"}}, "/properties/a/additionalProperties"),
        ({"type": "object", "properties": {"b": {}}, "required": ["c"]}, "/properties/a"),
        (
            {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": {"type": "null"}},
            "/properties/a",
        ),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, "/properties/a"),
        ({"$ref": "#/nowhere"}, "/properties/a"),
        ({"$ref": "#anchor"}, "/properties/a"),
    ],
)
def test_what_strict_mode_has_no_words_for_travels_as_it_is(schema: dict[str, Any], place: str) -> None:
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    lowered = lower(whole)
    assert (lowered.wire, lowered.strict, lowered.plan) == (whole, False, None)
    assert str(lowered.obstacle).startswith(place)


def test_the_alternatives_are_told_apart() -> None:
    def variant(tag: str, **more: Any) -> dict[str, Any]:
        properties = {"kind": {"const": tag}, **more}
        return {"type": "object", "properties": properties, "required": list(properties)}

    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    union = {"oneOf": [variant("a", m={"type": "string"}), variant("b", m=counts), {"type": "null"}]}
    schema = {"type": "object", "properties": {"u": {"type": "array", "items": union}}, "required": ["u"]}
    wire = '{"u":[{"kind":"a","m":"x"},{"kind":"b","m":{"entries":[{"key":"k","value":1}]}},null]}'
    assert parse_answer(wire, schema) == {"u": [{"kind": "a", "m": "x"}, {"kind": "b", "m": {"k": 1}}, None]}


def test_an_optional_property_is_absent_again_unless_null_is_allowed() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}}
    schema = {"type": "object", "properties": properties}
    assert parse_answer('{"a":null,"b":null}', schema) == {"b": None}
