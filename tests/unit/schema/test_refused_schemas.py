"""What is refused, and what only looks like it: each by its place, its keyword, and what to do."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from typing import Any

import pytest
from strict_subset import complaints

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import TARGETS, lower
from headrace.schema.modes import check_carried

Schema = dict[str, Any]
COUNTRIES = [f"country {n}" for n in range(249)]


def closed(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "countries",
    [
        {"$ref": "#/$defs/Country"},
        {"enum": COUNTRIES},
        {"type": "string", "enum": COUNTRIES, "description": "A country."},
        {"$ref": "#/$defs/Country", "description": "A country."},
        {"anyOf": [{"$ref": "#/$defs/Country"}, {"type": "null"}], "description": "A country."},
        {"type": "array", "items": {"$ref": "#/$defs/Country"}},
    ],
)
def test_values_used_often_count_once(target: str, countries: Schema) -> None:
    schema = closed(**{f"p{n}": countries for n in range(5)}) | {
        "$defs": {"Country": {"type": "string", "enum": COUNTRIES}}
    }
    lowered = lower(schema, target)
    assert complaints(lowered.wire, target) == []
    assert not [note for note in lowered.notes if note.keyword == "enum"]
    value = {f"p{n}": ["country 7"] if "items" in countries else "country 7" for n in range(5)}
    assert lowered.restore(lowered.lift(value)) == value
    if "description" in countries:
        assert [each["description"] for each in lowered.wire["properties"].values()] == ["A country."] * 5


@pytest.mark.parametrize(
    "name", ["Page<User>", "A B", "A«B»", "A|B", "A{B}", 'A"B', "A\\B", "A^B", "A`B", "Ä", "A%B", "A/B", "A~B", "A#B", "A?B", "A[B]", "Map<string,List<int>>"]
)  # fmt: skip
@pytest.mark.parametrize("word", ["$defs", "definitions"])
def test_a_reference_may_be_written_as_its_definition_is_called(word: str, name: str) -> None:
    step = name.replace("~", "~0").replace("/", "~1")
    schema = closed(a={"$ref": f"#/{word}/{step}"}) | {word: {name: {"type": "string"}}}
    lowered = lower(schema)
    assert lowered.wire["properties"]["a"] == {"type": "string"}
    lowered.validate({"a": "x"})
    with pytest.raises(InvalidOutput):
        lowered.validate({"a": 5})


def test_a_percent_encoded_reference_is_the_same() -> None:
    schema = closed(a={"$ref": "#/$defs/Page%3CUser%3E"}) | {"$defs": {"Page<User>": {"type": "string"}}}
    assert lower(schema).wire["properties"]["a"] == {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "pointer", "keyword", "remedy"),
    [
        ({"$id": "http://a b/c"}, "/$id", "$id", "URI"),
        ({"properties": {"a": {"$ref": "#/$defs/Page<User>"}}}, "/properties/a/$ref", "$ref", "name a definition"),
        ({"properties": {"a": {"$ref": "User<Page>"}}}, "/properties/a/$ref", "$ref", "copy what it names"),
        (closed(a=closed(b={"enum": []})), "/properties/a/properties/b", "false", "allow something"),
        (closed(a={"type": "string"}, b={"type": "string", "enum": [5]}), "/properties/b", "false", "allow something"),
        (closed(a={"type": "object", "properties": {"c": False, "d": False}, "required": ["d"]}), "/properties/a/properties/d", "false", "allow something"),
        (closed(a={"type": "string"}) | {"required": ["a", "zz"]}, "/required", "required", "describe 'zz'"),
        (closed(a=closed() | {"required": ["z/z"]}), "/properties/a/required", "required", "take it out of `required`"),
        (closed(a={"allOf": [closed(b={}), {"required": ["zz"]}]}), "/properties/a/allOf/1/required", "required", "describe 'zz'"),
        (closed(a={"type": "array", "minItems": 5, "maxItems": 2}), "/properties/a", "false", "allow something"),
        (closed(a={"type": "integer", "minimum": 5, "allOf": [{"maximum": 1}]}), "/properties/a", "false", "allow something"),
        (closed(a={"type": "string", "pattern": 5}), "/properties/a/pattern", "pattern", "see JSON Schema"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_place_in_the_callers_schema(
    schema: Schema, pointer: str, keyword: str, remedy: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        lower(schema, reading="intended")
    error = refused.value
    assert (error.pointer, error.keyword) == (pointer, keyword)
    assert remedy in error.remedy


def test_locates_an_oversized_wire_schema_in_the_callers_schema() -> None:
    inner = closed(**{f"q{m}": {"type": "null"} for m in range(100)})
    with pytest.raises(SchemaError) as refused:
        lower(closed(**{f"p{n}": inner for n in range(60)}))
    assert refused.value.keyword == "properties"
    assert refused.value.pointer.startswith("/properties/p")


@pytest.mark.parametrize(
    ("definition", "pointer"),
    [
        ({"type": "strin"}, "/type"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a/b": {"type": "object", "required": "x"}}}, "/properties/a~1b/required"),
        ({"enum": {}}, "/enum"),
        ({"anyOf": {"type": "string"}}, "/anyOf"),
        ({"allOf": [5]}, "/allOf/0"),
        ({"minimum": "3"}, "/minimum"),
        ({"$ref": 5}, "/$ref"),
    ],
)
def test_checks_schemas_that_only_a_reference_reaches(definition: Any, pointer: str) -> None:
    schema = closed(a={"$ref": "#/components/schemas/X"}) | {"components": {"schemas": {"X": definition}}}
    with pytest.raises(SchemaError) as refused:
        lower(schema)
    assert refused.value.pointer == f"/components/schemas/X{pointer}"
    assert refused.value.remedy


def test_names_the_mode_that_carries_an_oversized_schema() -> None:
    inner = closed(**{f"q{m}": {"type": "null"} for m in range(100)})
    with pytest.raises(SchemaError) as refused:
        check_carried(closed(**{f"p{n}": inner for n in range(60)}), None, "openai")
    assert refused.value.pointer.startswith("/properties/p")
    assert "json_object" in refused.value.remedy
    assert str(refused.value).count("describe less") == 1


def test_values_used_often_count_once_in_what_is_cut_for_its_depth_too() -> None:
    deep = closed(leaf={"type": "string"})
    for _ in range(12):
        deep = closed(inner=deep, country={"enum": COUNTRIES})
    lowered = lower(deep)
    assert complaints(lowered.wire) == []
    assert not [note for note in lowered.notes if note.keyword == "enum"]
    assert sum(len(each.get("enum", ())) for each in lowered.wire["$defs"].values()) == len(COUNTRIES)


def test_a_few_values_used_very_often_count_once() -> None:
    lowered = lower(closed(**{f"p{n}": {"enum": ["new", "paid", "sent", "back"]} for n in range(300)}))
    assert complaints(lowered.wire) == []
    assert not [note for note in lowered.notes if note.keyword == "enum"]
