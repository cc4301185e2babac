"""What the model is told in words, where no keyword of strict mode can say it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from resource_usage import cost_of
from strict_subset import complaints

from headrace.errors import InvalidOutput
from headrace.schema import TARGETS, lower
from headrace.schema.descriptions import MAX_SCHEMA_CHARS, SHAPE_TEXT

Schema = dict[str, Any]
CLOSED: Schema = {"additionalProperties": False}


def said_of(schema: Any, target: str = "openai") -> str:
    """The description of one required property."""
    whole = {"type": "object", "properties": {"v": schema}, "required": ["v"], **CLOSED}
    lowered = lower(whole, target)
    assert complaints(lowered.wire, target) == []
    return lowered.wire["properties"]["v"].get("description", "")


def shape_of(said: str) -> Any:
    return json.loads(said[said.index(SHAPE_TEXT) + len(SHAPE_TEXT) :])


def test_any_value_and_any_object_are_told_apart() -> None:
    assert said_of({}) == "Any JSON value, written as JSON text."
    assert said_of({"type": "object", "description": "More."}) == "More. A JSON object, written as JSON text."


def test_json_text_says_which_shape_it_has() -> None:
    variants = [
        {"type": "object", "properties": {f"k{n}": {"type": "string"}, "n": {"type": "integer"}}, "required": [f"k{n}"]}
        for n in range(9)
    ]
    several = {"allOf": [{"anyOf": variants}, {"oneOf": variants}]}
    said = said_of(several | {"description": "Several."})
    assert said.startswith("Several. JSON text")
    first = {"type": "object", "properties": {"k0": {"type": "string"}, "n": {"type": "integer"}}, "required": ["k0"]}
    assert shape_of(said)["anyOf"][0] == first
    assert len(said) < MAX_SCHEMA_CHARS + 100


def deep(levels: int, leaf: Schema) -> Schema:
    for _ in range(levels):
        leaf = {"type": "object", "properties": {"inner": leaf}, "required": ["inner"], **CLOSED}
    return leaf


LEAF: Schema = {
    "type": "object",
    "properties": {
        "unit": {"enum": ["C", "F"]},
        "size": {"type": "integer", "minimum": 1, "description": "in metres"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}},
    },
    "required": ["unit", "size"],
    **CLOSED,
}


def test_descriptions_of_deep_places_keep_names_and_values() -> None:
    schema = deep(10, LEAF) | {"$defs": {"Tag": {"enum": ["x", "y"]}}}
    here = lower(schema).wire
    while here.get("type") == "object":
        here = here["properties"]["inner"]
    shape = shape_of(here["description"])
    assert shape["required"] == ["unit", "size"]
    assert shape["properties"]["unit"] == {"enum": ["C", "F"]}
    assert shape["properties"]["size"] == {"type": "integer", "description": "in metres", "minimum": 1}
    assert shape["properties"]["tags"]["items"] == {"enum": ["x", "y"]}


def test_descriptions_beyond_the_bound_keep_required_names() -> None:
    many = {f"name{n}": {"type": "string", "description": "long " * 20} for n in range(300)}
    wide: Schema = {"type": "object", "properties": many, "required": ["name7", "name9"]}
    here = lower(deep(10, wide)).wire
    while here.get("type") == "object":
        here = here["properties"]["inner"]
    assert shape_of(here["description"]) == {"type": "object", "required": ["name7", "name9"]}


def test_descriptions_of_recursive_schemas_are_bounded_in_depth() -> None:
    tree: Schema = {
        "type": "object",
        "properties": {"v": {"type": "string"}, "of": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
    }
    schema = deep(10, {"$ref": "#/$defs/T"}) | {"$defs": {"T": tree}}
    assert complaints(lower(schema).wire) == []
    choice = {"anyOf": [tree, *({"type": "object", "properties": {f"p{n}": {}}} for n in range(300))]}
    lowered = lower({"type": "object", "properties": {"v": choice}, "$defs": {"T": tree}})
    assert SHAPE_TEXT in lowered.wire["properties"]["v"]["description"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_enum_of_too_many_values_lists_them_in_words(target: str) -> None:
    most = TARGETS[target].enum_values
    values = [f"v{n}" for n in range(most + 1)]
    whole = {
        "type": "object",
        "properties": {"v": {"enum": values, "description": "Which."}},
        "required": ["v"],
        **CLOSED,
    }
    lowered = lower(whole, target)
    wire = lowered.wire["properties"]["v"]
    assert wire["type"] == "string"
    assert wire["description"].startswith('Which. One of: "v0", "v1", ')
    assert any(note.keyword == "enum" and note.how == "validated" for note in lowered.notes)
    lowered.validate({"v": values[-1]})
    with pytest.raises(InvalidOutput):
        lowered.validate({"v": "other"})


def test_of_very_many_values_the_first_are_listed() -> None:
    said = said_of({"enum": [f"value {n}" for n in range(20_000)]})
    assert said.endswith("… (20000 values in all).")
    assert len(said) < 20_000


def test_objects_as_values_are_listed_too() -> None:
    said = said_of({"enum": [{"x": n} for n in range(1200)]})
    assert said.startswith('JSON text of one of: {"x":0}, {"x":1}')


def test_of_several_enums_the_largest_is_described() -> None:
    sizes = {"a": 300, "b": 600, "c": 500}
    kinds = {name: {"enum": [f"{name}{n}" for n in range(size)]} for name, size in sizes.items()}
    wire = lower({"type": "object", "properties": kinds, "required": list(kinds), **CLOSED}).wire["properties"]
    assert ["enum" in wire[name] for name in "abc"] == [True, False, True]
    assert "One of" in wire["b"]["description"]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"pattern": "^a", "maxLength": 5}, {"pattern": "^a"}),
        ({"format": "email", "minLength": 5, "maxLength": 9}, {"format": "email"}),
        ({"format": "date", "pattern": "^2"}, {"format": "date"}),
        ({"format": "uri", "pattern": "^h", "minLength": 1}, {"pattern": "^h"}),
        ({"pattern": "^(?=a)", "maxLength": 5}, {"maxLength": 5}),
        ({"minLength": 1, "maxLength": 5}, {"minLength": 1, "maxLength": 5}),
    ],
)
def test_vllm_is_sent_what_its_grammars_keep_and_the_rest_is_noted(limits: Schema, kept: Schema) -> None:
    whole = {"type": "object", "properties": {"v": {"type": "string", **limits}}, "required": ["v"], **CLOSED}
    lowered = lower(whole, "vllm")
    assert lowered.wire["properties"]["v"] == {"type": "string", **kept}
    assert {note.keyword for note in lowered.notes} == limits.keys() - kept.keys()
    elsewhere = lower(whole).wire["properties"]["v"]
    assert elsewhere.keys() >= {word for word in limits if word.endswith("Length")}


def test_saying_it_costs_little() -> None:
    wide = {
        f"p{n}": {"type": "object", "additionalProperties": True, "required": [f"q{m}" for m in range(30)]}
        for n in range(300)
    }
    deepest = deep(9, {"type": "object", "properties": wide, "required": list(wide), **CLOSED})
    cost = cost_of(lambda: len(json.dumps(lower(deepest).wire)))
    assert cost.cpu_s < 2, cost
    assert cost.result is not None
