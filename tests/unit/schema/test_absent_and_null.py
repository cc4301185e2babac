"""What is absent, what is null, and what neither is: on the wire and back."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from strict_subset import complaints

from headrace.schema import lower

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"type": ["string", "null"]}
CLOSED: Schema = {"additionalProperties": False}


def contact(kind: Schema, **more: Any) -> Schema:
    return {"type": "object", "properties": {"email": kind, "phone": kind, "note": kind}, **CLOSED, **more}


EITHER = [{"required": ["email"]}, {"required": ["phone"]}]
ONE = [{"required": ["email"], "not": {"required": ["phone"]}}, {"required": ["phone"], "not": {"required": ["email"]}}]
SHAPED = [
    {"properties": {"card": MAYBE, "until": MAYBE}, "required": ["card"]},
    {"properties": {"iban": MAYBE}, "required": ["iban"]},
]


@pytest.mark.parametrize("kind", [TEXT, MAYBE])
@pytest.mark.parametrize(
    "words",
    [
        {"oneOf": EITHER},
        {"anyOf": ONE},
        {"oneOf": ONE},
        {"allOf": [{"oneOf": EITHER}]},
        {"dependentRequired": {"phone": ["note"]}, "required": ["email"]},
        {"dependencies": {"phone": ["note"]}, "required": ["email"]},
        {"dependentSchemas": {"phone": {"required": ["note"]}}, "required": ["email"]},
        {"if": {"required": ["phone"]}, "then": {"required": ["note"]}},
        {"not": {"required": ["email", "phone"]}},
        {"maxProperties": 1},
        {"$defs": {"c": {"oneOf": EITHER}}, "$ref": "#/$defs/c"},
    ],
)
def test_null_for_what_is_absent_is_absent_where_that_matters(words: Schema, kind: Schema) -> None:
    lowered = lower(contact(kind, **words), reading="intended")
    assert complaints(lowered.wire) == []
    wire = {"email": "a@b.c", "phone": None, "note": None}
    assert jsonschema_rs.is_valid(lowered.wire, wire)
    value = lowered.restore(json.dumps(wire))
    lowered.validate(value)
    assert {name: inner for name, inner in value.items() if inner is not None} == {"email": "a@b.c"}


@pytest.mark.parametrize("word", ["oneOf", "anyOf"])
def test_alternatives_of_one_object_have_their_own_names(word: str) -> None:
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"], word: SHAPED}
    lowered = lower(schema, reading="intended")
    names = [set(each["properties"]) for each in lowered.wire["properties"]["value"]["anyOf"]]
    assert names == [{"amount", "card", "until"}, {"amount", "iban"}]
    for value in ({"amount": 1, "iban": "x"}, {"amount": 1, "card": "x", "until": "y"}):
        assert lowered.restore(lowered.lift(value)) == value
        lowered.validate(lowered.restore(lowered.lift(value)))


def test_properties_of_one_alternative_are_absent_in_the_others() -> None:
    schema = {
        "type": "object",
        "properties": {"card": MAYBE, "iban": MAYBE},
        "oneOf": [
            {"properties": {"card": TEXT}, "required": ["card"]},
            {"properties": {"iban": TEXT}, "required": ["iban"]},
        ],
    }
    lowered = lower(schema, reading="intended")
    for value in ({"card": "x"}, {"iban": "y"}):
        back = lowered.restore(lowered.lift(value))
        assert back == value
        lowered.validate(back)


def test_properties_of_a_condition_are_absent_where_it_does_not_hold() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"properties": {"more": {"type": ["integer", "null"]}}},
        "unevaluatedProperties": False,
    }
    lowered = lower(schema, reading="intended")
    value = lowered.restore({"kind": "b", "more": None})
    assert value == {"kind": "b"}
    lowered.validate(value)


@pytest.mark.parametrize("reading", ["literal", "intended"])
@pytest.mark.parametrize(
    "kind",
    [
        {"type": ["null", "object", "string"]},
        {"type": ["object", "string", "null"], "properties": {"a": TEXT}},
        {"anyOf": [{"type": "null"}, {"type": "object"}, TEXT]},
        {"anyOf": [{"type": "object"}, MAYBE]},
        {"anyOf": [{"type": "object"}, {"enum": ["x", None]}]},
        {"enum": [{"a": "1"}, "x", None]},
        {"type": ["null", "array", "object", "string", "number", "boolean"]},
    ],
)
def test_null_beside_objects_and_texts_is_said_as_null(kind: Schema, reading: Any) -> None:
    lowered = lower({"type": "object", "properties": {"v": kind}, "required": ["v"], **CLOSED}, reading=reading)
    assert complaints(lowered.wire) == []
    for value in (None, {"a": "1"}, "x"):
        lowered.validate({"v": value})
        wire = lowered.lift({"v": value})
        assert jsonschema_rs.is_valid(lowered.wire, wire)
        assert lowered.restore(json.dumps(wire)) == {"v": value}
    if "enum" not in kind:
        assert lowered.lift({"v": None}) == {"v": None}
