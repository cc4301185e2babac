"""Schemas of every kind there and back: a value, its wire form, and the value again."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strict_subset import complaints

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import TARGETS, Lowered, lower
from headrace.schema.lowering import Reading

NAMES = st.sampled_from(["a", "b", "kind", "entries", "key", "value", "case", "rest", "additional_properties", "é/~ "])
SMALL = st.integers(-5, 5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | SMALL
    | st.floats(-2, 2)
    | st.sampled_from(["", "a", "bb", "2026-01-01", "null", "1", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def words(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


ANNOTATED = words(title=st.sampled_from(["T", "U"]), description=st.just("said"), default=VALUES)
TYPE = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
LEAVES = st.one_of(
    st.builds(lambda more: {"type": "string", **more}, words(minLength=st.integers(0, 2), maxLength=st.integers(1, 9), pattern=st.sampled_from(["^a", "b$", r"\d", "^(?=a)"]), format=st.sampled_from(["date", "uri", "email"]))),
    st.builds(lambda kind, more: {"type": kind, **more}, st.sampled_from(["integer", "number"]), words(minimum=SMALL, maximum=SMALL, multipleOf=st.sampled_from([1, 2, 0.5]), exclusiveMinimum=SMALL)),
    st.builds(lambda kinds: {"type": kinds}, st.lists(TYPE, min_size=1, max_size=3, unique=True)),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=4, unique_by=json.dumps)),
    st.builds(lambda value: {"const": value}, VALUES),
    words(maximum=SMALL, minLength=st.integers(0, 2), required=st.lists(NAMES, max_size=2, unique=True)),
    st.sampled_from([True, {}, {"type": "null"}, {"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Leaf"}, {"$ref": "#named"}, {"$ref": "#/$defs/One<Link>"}]),
)  # fmt: skip


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.builds(
        lambda typed, more: ({"type": "object"} if typed else {}) | more,
        st.booleans(),
        words(
            properties=st.dictionaries(NAMES, inner, max_size=3),
            required=st.lists(NAMES, max_size=2, unique=True),
            additionalProperties=st.booleans() | inner,
            patternProperties=st.dictionaries(st.sampled_from(["^a", "b", "^[a-c]$"]), inner, max_size=2),
            propertyNames=st.sampled_from([{"maxLength": 5}, {"enum": ["a", "b"]}, {"pattern": "^[a-z]*$"}]),
            minProperties=st.integers(0, 1),
            dependentRequired=st.just({"a": ["b"]}),
        ),
    )
    lists = st.builds(
        lambda typed, more: ({"type": "array"} if typed else {}) | more,
        st.booleans(),
        words(
            items=inner | st.booleans(),
            prefixItems=st.lists(inner, min_size=1, max_size=3),
            minItems=st.integers(0, 2),
            maxItems=st.integers(1, 4),
            uniqueItems=st.booleans(),
            contains=inner,
        ),
    )
    several = st.lists(inner, min_size=1, max_size=3)
    composed = st.builds(
        lambda base, more: (base if isinstance(base, dict) and "$ref" not in base else {}) | more,
        inner,
        words(anyOf=several, oneOf=several, allOf=several, **{"not": inner, "if": inner, "then": inner}),
    )
    annotated = st.builds(lambda schema, more: schema | more if isinstance(schema, dict) else schema, inner, ANNOTATED)
    return objects | lists | composed | annotated


SCHEMAS = st.recursive(LEAVES, grown, max_leaves=7)
DEFINITIONS = {
    "Tree": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        "required": ["name"],
    },
    "One<Link>": {"oneOf": [{"$ref": "#/$defs/Link"}]},
    "Link": {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/One<Link>"}, "kind": {"enum": ["a", None]}},
        "anyOf": [{"required": ["kind"]}, {"required": ["next"]}],
    },
    "Leaf": {"$anchor": "named", "type": "object", "properties": {"n": {"type": ["integer", "null"]}}},
}
PATIENT = settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def lowered_of(schema: Any, target: str, reading: Reading) -> Lowered | None:
    """None for a schema that is refused, which must be by name."""
    try:
        return lower(schema, target, reading=reading)
    except SchemaError as error:
        named = (error.pointer.__class__, bool(error.keyword), bool(error.remedy))
    assert named == (str, True, True)
    return None


def instances(schema: Any, draw: st.DataObject) -> list[Any]:
    """Values that may be valid: arbitrary ones, and ones that follow the schema's own words."""
    own = [follow(schema, draw, 0) for _ in range(3)]
    return [*own, draw.draw(VALUES)]


def follow(schema: Any, draw: st.DataObject, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 6:
        return draw.draw(VALUES)
    if "$ref" in schema:
        name = {"#named": "Leaf"}.get(schema["$ref"], schema["$ref"].rpartition("/")[2])
        return follow(DEFINITIONS[name], draw, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else draw.draw(st.sampled_from(schema["enum"]))
    for word in ("allOf", "anyOf", "oneOf"):
        if word in schema and draw.draw(st.booleans()):
            return follow(draw.draw(st.sampled_from(schema[word])), draw, depth + 1)
    kinds = schema.get("type") or (
        ["object"]
        if "properties" in schema or "patternProperties" in schema
        else ["array"]
        if "items" in schema
        else []
    )
    kind = draw.draw(st.sampled_from(kinds)) if isinstance(kinds, list) and kinds else kinds
    if kind == "object":
        named = schema.get("properties", {})
        chosen = [name for name in named if name in schema.get("required", ()) or draw.draw(st.booleans())]
        value = {name: follow(named[name], draw, depth + 1) for name in chosen}
        rest = schema.get("additionalProperties", True)
        if rest is not False and draw.draw(st.booleans()):
            value[draw.draw(NAMES)] = follow(rest, draw, depth + 1)
        return value
    if kind == "array":
        value = [follow(inner, draw, depth + 1) for inner in schema.get("prefixItems", ())]
        more = draw.draw(st.integers(0, 2))
        return value + [follow(schema.get("items", True), draw, depth + 1) for _ in range(more)]
    if kind in ("string", "integer", "number", "boolean", "null"):
        return draw.draw(
            {
                "string": st.sampled_from(["", "a", "ab", "a1", "2026-01-01", "x@y.zz", "http://a.b"]),
                "integer": SMALL | st.just(2.0),
                "number": SMALL | st.sampled_from([0.5, -1.5, 1e300]),
                "boolean": st.booleans(),
                "null": st.none(),
            }[kind]
        )
    return draw.draw(VALUES)


@PATIENT
@given(SCHEMAS, st.sampled_from(sorted(TARGETS)), st.data())
def test_a_valid_value_comes_back_as_it_was(schema: Any, target: str, data: st.DataObject) -> None:
    whole = (schema if isinstance(schema, dict) else {}) | {"$defs": DEFINITIONS}
    lowered = lowered_of(whole, target, "literal")
    if lowered is None:
        return
    assert complaints(lowered.wire, target) == [], lowered.wire
    wire_validator = jsonschema_rs.Draft202012Validator(lowered.wire, validate_formats=True)
    for value in instances(whole, data):
        try:
            lowered.validate(value)
        except InvalidOutput:
            continue
        answer = json.dumps(lowered.lift(value))
        assert wire_validator.is_valid(json.loads(answer)), (value, answer, lowered.wire)
        assert lowered.restore(answer) == value, (value, answer, lowered.wire)


@PATIENT
@given(SCHEMAS, st.sampled_from(sorted(TARGETS)), st.data())
def test_as_intended_too(schema: Any, target: str, data: st.DataObject) -> None:
    """What is left unsaid cannot be lifted; whatever can is valid, and stays as valid as it was."""
    whole = (schema if isinstance(schema, dict) else {}) | {"$defs": DEFINITIONS}
    lowered = lowered_of(whole, target, "intended")
    if lowered is None:
        return
    assert complaints(lowered.wire, target) == [], lowered.wire
    wire_validator = jsonschema_rs.Draft202012Validator(lowered.wire, validate_formats=True)
    for value in instances(whole, data):
        try:
            lowered.validate(value)
            answer = json.dumps(lowered.lift(value))
        except InvalidOutput:
            continue
        assert wire_validator.is_valid(json.loads(answer)), (value, answer, lowered.wire)
        back = lowered.restore(answer)
        assert lowered.lift(back) == json.loads(answer), (value, answer, back)


@pytest.mark.parametrize("reading", ["literal", "intended"])
def test_a_text_that_is_no_date_is_lifted_as_another_alternative(reading: Reading) -> None:
    schema = {
        "type": ["string", "array"],
        "anyOf": [{"const": []}, {"type": "string", "format": "date"}, {"type": "string"}],
    }
    lowered = lower(schema, "openai", reading=reading)
    wire = jsonschema_rs.Draft202012Validator(lowered.wire, validate_formats=True)
    for value in ([], "2026-01-01", "soon", ""):
        assert wire.is_valid(lowered.lift(value))
        assert lowered.restore(lowered.lift(value)) == value


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_takes_what_is_lowered_for_it(target: str) -> None:
    limits = {"multipleOf": 2, "minimum": 0}
    wire = lower({"type": "object", "properties": {"n": {"type": "integer", **limits}}}, target).wire
    kept = wire["properties"]["n"]["anyOf"][0]
    assert ("multipleOf" in kept) is (target != "vllm")
