"""What becomes of each keyword on the wire, and what is said of it."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic as time_of
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel, computed_field
from strict_subset import complaints

from headrace.errors import InputError, InvalidOutput, SchemaError
from headrace.schema import Lowered, lower


def wire_of(schema: Any, **words: Any) -> Any:
    """The wire form of one required property."""
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    lowered = lower(whole, **words)
    assert complaints(lowered.wire) == []
    return lowered.wire["properties"]["a"]


def there_and_back(schema: dict[str, Any], *values: Any, **words: Any) -> Lowered:
    lowered = lower(schema, **words)
    assert complaints(lowered.wire) == []
    for value in values:
        lowered.validate(value)
        assert lowered.restore(msgspec.json.encode(lowered.lift(value))) == value
    return lowered


NULL = {"type": "null"}
CLOSED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "wire"),
    [
        ({"type": "string", "format": "date", "pattern": "^2", "title": "T"}, {"type": "string", "title": "T", "pattern": "^2", "format": "date"}),
        ({"type": "string", "format": "uri", "pattern": "^(?=a)"}, {"type": "string"}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"const": 5}, {"type": "integer", "enum": [5]}),
        ({"enum": ["a", 1, None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}, NULL]}),
        ({"enum": [[1], {"b": 2}]}, {"type": "string", "enum": ["[1]", '{"b":2}']}),
        ({"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3, "maximum": 9}]}, {"type": "integer", "minimum": 3, "maximum": 9}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, {"anyOf": [{"type": "integer"}, NULL]}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}], "description": "d"}, {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "d"}),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1, "uniqueItems": True}, {"type": "array", "items": NULL, "minItems": 1}),
        ({"type": "integer", "not": {"const": 3}, "default": 4}, {"type": "integer"}),
    ],
)  # fmt: skip
def test_a_keyword_on_the_wire(schema: dict[str, Any], wire: dict[str, Any]) -> None:
    assert wire_of(schema, reading="intended") == wire


def test_a_reference_is_written_out_and_keeps_the_description_beside_it() -> None:
    definition = {
        "type": "object",
        "properties": {"b": {"type": "null"}},
        "required": ["b"],
        "description": "there",
        **CLOSED,
    }
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/D"}, "y": {"$ref": "#/$defs/D", "description": "here"}},
        "required": ["x", "y"],
        "$defs": {"D": definition},
        **CLOSED,
    }
    properties = lower(schema).wire["properties"]
    assert "$defs" not in lower(schema).wire
    assert (properties["x"]["description"], properties["y"]["description"]) == ("there", "here")


def test_an_optional_property_is_absent_again_and_null_is_null() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}}
    lowered = there_and_back({"type": "object", "properties": properties, **CLOSED}, {}, {"b": None}, {"a": 1, "b": 2})
    assert lowered.lift({"b": None}) == {"a": None, "b": {"value": None}}


def test_as_intended_an_optional_null_is_simply_null() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}, "kind": {"const": "k", "default": "k"}}
    lowered = lower({"type": "object", "properties": properties}, reading="intended")
    assert lowered.lift({}) == {"a": None, "b": None, "kind": "k"}
    assert lowered.restore({"a": None, "b": None, "kind": "k"}) == {"b": None, "kind": "k"}
    with pytest.raises(InvalidOutput, match="more"):
        lowered.lift({"more": 1})


def test_an_optional_constant_may_be_absent_unless_it_is_a_default() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "urgent": {"const": True}}, "required": ["n"]}
    there_and_back(schema, {"n": 1}, {"n": 1, "urgent": True}, reading="intended")


def test_a_deep_tree_of_alternatives_is_lifted_and_complained_of_at_once() -> None:
    def node(tag: str, sort: str) -> dict[str, Any]:
        properties = {"l": {"$ref": "#/$defs/n"}, "k": {"const": tag}, "p": {"type": sort}}
        return {"type": "object", "properties": properties, "required": ["l", "k"], **CLOSED}

    choices = [node("a", "string"), node("b", "integer"), {"type": "integer"}]
    lowered = lower({"$ref": "#/$defs/n", "$defs": {"n": {"oneOf": choices}}})
    value: Any = 1
    for level in range(18):
        value = {"l": value, "k": "ab"[level % 2]}
    began = time_of()
    assert lowered.restore(lowered.lift(value)) == value
    with pytest.raises(InvalidOutput):
        lowered.validate({"l": {"l": value, "k": "c"}, "k": "a"})
    assert time_of() - began < 1


def test_unions_are_told_apart_by_tags_names_or_cases() -> None:
    def variant(**properties: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": list(properties)[:1], **CLOSED}

    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    tagged = [variant(kind={"const": "a"}, m={"type": "string"}), variant(kind={"const": "b"}, m=counts)]
    named = [variant(x={"type": "string"}, m=counts), variant(y={"type": "string"}, m=counts)]
    alike = [variant(x={"type": "string"}, m={"type": "string"}), variant(x={"type": "string"}, m=counts)]
    there_and_back({"anyOf": tagged}, {"kind": "a", "m": "x"}, {"kind": "b", "m": {"k": 1}}, {"kind": "b"})
    there_and_back({"anyOf": named}, {"x": "1", "m": {}}, {"y": "2"})
    lowered = there_and_back({"anyOf": alike}, {"x": "1", "m": "t"}, {"x": "1", "m": {"k": 1}})
    assert lowered.lift({"x": "1", "m": {"k": 1}})["value"]["case"] == "2", "an object with either wire form says which"


def test_maps_and_what_is_not_named() -> None:
    lowered = there_and_back(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "additional_properties": {"type": "string"}},
            "patternProperties": {"^x-": {"type": "boolean"}},
            "additionalProperties": {"type": "array", "items": {"type": "integer"}},
        },
        {},
        {"a": 1, "x-1": True, "b": [1]},
        {"additional_properties": "mine"},
    )
    assert "additional_properties_2" in lowered.wire["properties"]
    with pytest.raises(InvalidOutput, match="twice"):
        lowered.restore(lowered.lift({}) | {"additional_properties_2": [{"key": "k", "value": [1]}] * 2})


def test_tuples_are_properties() -> None:
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}
    there_and_back(pair, [], ["a"], ["a", 1], ["a", 1, {"x": [None]}])
    there_and_back(pair | {"items": {"type": "null"}, "minItems": 2}, ["a", 1], ["a", 1, None, None])
    there_and_back(pair | {"items": False}, ["a"], ["a", 2])
    drafted = {"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "integer"}}
    there_and_back(drafted, ["a", 1, 2])


def test_any_value_travels_as_json_text() -> None:
    lowered = there_and_back({}, None, "text", "null", [1, {"a": 1.5}], {"b": "ü"})
    assert lowered.restore({"value": "no JSON"}) == "no JSON"
    assert any(note.how == "moved" and "JSON text" in note.text for note in lowered.notes)


def test_conditions_leave_what_they_speak_of_sayable() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"properties": {"more": {"type": "integer"}}, "required": ["more"]},
    }
    lowered = there_and_back(schema, {"kind": "a", "more": 3}, reading="intended")
    assert set(lowered.wire["properties"]) == {"kind", "more"}
    assert {note.keyword for note in lowered.notes if note.how == "validated"} == {"if", "then"}


def test_recursive_schemas_become_definitions() -> None:
    tree = {
        "title": "Tree",
        "type": "object",
        "properties": {"v": {"type": "integer"}, "of": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["v"],
        **CLOSED,
    }
    lowered = there_and_back(tree, {"v": 1, "of": [{"v": 2}, {"v": 3, "of": []}]})
    assert list(lowered.wire["$defs"]) == ["Tree"]


def test_places_beyond_the_depth_limit_travel_as_json_text() -> None:
    schema: dict[str, Any] = {"type": "string"}
    value: Any = "x"
    for _ in range(20):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"], **CLOSED}
        value = {"a": value}
    lowered = there_and_back(schema, value)
    assert any("deeper" in note.text for note in lowered.notes)
    assert not any("deeper" in note.text for note in lower(schema, "vllm").notes)


def test_shared_parts_become_definitions() -> None:
    def level(n: int) -> dict[str, Any]:
        inner = {"$ref": f"#/$defs/A{n + 1}"}
        return {"type": "object", "properties": {"l": inner, "r": inner}, "required": ["l", "r"], **CLOSED}

    schema = {"$ref": "#/$defs/A0", "$defs": {f"A{n}": level(n) for n in range(11)} | {"A11": {"type": "null"}}}
    lowered = lower(schema, "vllm")
    assert complaints(lowered.wire) == []
    assert len(lowered.wire["$defs"]) >= 8


@pytest.mark.parametrize(
    ("schema", "pointer", "keyword"),
    [
        ({"properties": {"a/b": {"$ref": "https://x.y/z"}}}, "/properties/a~1b/$ref", "$ref"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, "/properties/a/$ref", "$ref"),
        ({"$schema": "https://x.y/z"}, "/$schema", "$schema"),
        ({"type": "strin"}, "/type", "type"),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern", "pattern"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "/properties/a", "false"),
    ],
)
def test_refuses_invalid_schemas_by_pointer_and_keyword(schema: dict[str, Any], pointer: str, keyword: str) -> None:
    with pytest.raises(SchemaError) as refused:
        lower(schema)
    assert (refused.value.pointer, refused.value.keyword) == (pointer, keyword)
    assert refused.value.remedy


def test_a_target_that_is_none() -> None:
    with pytest.raises(InputError, match="openai, vllm, openrouter"):
        lower({}, "nope")
    with pytest.raises(InputError, match="literal"):
        lower({}, reading="nope")  # pyright: ignore[reportArgumentType]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    born: date


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: dict[str, int] | None = None


class Owner(BaseModel):
    pets: list[Cat | Dog]
    visits: dict[str, date] | None = None


class Point(msgspec.Struct, rename="camel"):
    left_side: int
    at: date | None = None
    pair: tuple[int, str] = (0, "")


@pytest.mark.parametrize(
    "value",
    [
        Owner(pets=[Cat(born=date(2020, 1, 2)), Dog(tricks={"roll": 3}), Dog()], visits={"a": date(2021, 1, 1)}),
        Point(1, date(2020, 1, 1), (2, "x")),
    ],
)
def test_a_type_comes_back_as_itself(value: Any) -> None:
    lowered = lower(type(value))
    assert complaints(lowered.wire) == []
    answer = msgspec.json.encode(lowered.lift(value))
    assert lowered.restore(answer) == value
    assert isinstance(lowered.restore(answer, plain=True), dict)
    lowered.validate(value)
    with pytest.raises(InvalidOutput):
        lowered.restore("{}")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), {1}, b"x", {"x": float("nan")}, {"x": object()}]
)
def test_refuses_to_lift_values_outside_json(value: Any) -> None:
    lowered = lower({"type": "object", "properties": {"a": {"type": "number"}, "b": {}}})
    for given in ({"a": value}, {"b": value}, value):
        with pytest.raises(InvalidOutput):
            lowered.lift(given)
    with pytest.raises(SchemaError, match="nothing that JSON has"):
        lower({"const": float("nan")})


@pytest.mark.parametrize("answer", ["null", "[]", "5", "", "\ud800", '"x"', None, 5])
def test_an_answer_that_is_no_object_is_invalid(answer: Any) -> None:
    for schema in ({"type": "object", "properties": {"a": {}}}, {"type": "array"}):
        with pytest.raises(InvalidOutput):
            lower(schema).restore(answer)


def test_a_name_that_comes_twice_is_an_error_wherever_it_comes() -> None:
    lowered = lower({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}})
    for answer in ('{"a":1,"a":2}', '{"a":1,"b":"{\\"x\\":1,\\"x\\":2}"}'):
        with pytest.raises(InvalidOutput, match=r"twice|[Dd]uplicate"):
            lowered.restore(answer)


@pytest.mark.parametrize(
    "schema", [{1: 2}, {"enum": {1, 2}}, {"enum": [float("inf")]}, {"const": b"x"}, {"title": "\ud800"}]
)
def test_a_dict_that_is_no_json_is_no_schema(schema: Any) -> None:
    with pytest.raises(SchemaError) as refused:
        lower(schema)
    assert refused.value.keyword
    assert refused.value.remedy


class Pair(NamedTuple):
    a: int
    b: str = "x"


class Times(BaseModel):
    at: datetime
    clock: time
    took: timedelta

    @computed_field
    @property
    def half(self) -> float:
        return self.took.total_seconds() / 2


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (Pair, Pair(1, "y")),
        (Annotated[int, msgspec.Meta(ge=1)], 3),
        (Sequence[int], [1, 2]),
        (Any, {"a": [None]}),
        (dict, {"a": 1}),
        (Times, Times(at=datetime(2026, 1, 2, 3, 4, 5), clock=time(1, 2), took=timedelta(days=3, microseconds=5))),  # noqa: DTZ001
        (Times, Times(at=datetime(2026, 1, 2, tzinfo=UTC), clock=time(1, 2, tzinfo=UTC), took=timedelta(0))),
    ],
)
def test_more_types_come_back_as_themselves(given: Any, value: Any) -> None:
    lowered = lower(given)
    lowered.validate(value)
    assert lowered.restore(msgspec.json.encode(lowered.lift(value))) == value


def test_a_wide_choice_is_told_apart_at_once_or_travels_as_text() -> None:
    def variant(n: int) -> dict[str, Any]:
        return {"type": "object", "properties": {f"k{n}": {"type": "string"}}, "required": [f"k{n}"], **CLOSED}

    there_and_back({"anyOf": [variant(n) for n in range(200)]}, {"k7": "x"}, {"k199": "y"})
    lowered = there_and_back({"anyOf": [variant(n) for n in range(900)]}, {"k7": "x"})
    assert any("900 alternatives" in note.text for note in lowered.notes)
