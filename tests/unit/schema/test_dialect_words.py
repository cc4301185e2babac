"""A schema that names no version of JSON Schema is read in the one that its words tell, alone and with its documents."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import bundle, lower

INTEGER = {"type": "integer"}
LISTED = {"items": [INTEGER, {"type": "string"}]}
DEPENDENT = {"dependencies": {"a": ["b"]}}


def takes(schema: dict[str, Any], value: Any) -> bool:
    try:
        lower(schema).validate(value)
    except InvalidOutput:
        return False
    return True


@pytest.mark.parametrize("container", ["definitions", "$defs"])
@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"properties": {"x": {"$ref": "#/{}/i", "minimum": 3}}}, {"x": 1}),
        ({"properties": {"x": {"$ref": "#/{}/i"}, "y": {"prefixItems": [INTEGER]}}}, {"y": ["a"]}),
        ({"properties": {"x": {"$ref": "#/{}/i"}}, "unevaluatedProperties": False}, {"z": 1}),
        ({"properties": {"x": {"$ref": "#/{}/i"}}, "dependentRequired": {"a": ["b"]}}, {"a": 1}),
    ],
)
def test_no_constraint_is_ignored_for_where_the_definitions_stand(
    container: str, words: dict[str, Any], wrong: Any
) -> None:
    def placed(value: Any, to: str) -> Any:
        if isinstance(value, dict):
            return {name: placed(inner, to) for name, inner in value.items()}
        return value.replace("#/{}/i", to) if isinstance(value, str) else value

    alone = {**placed(words, f"#/{container}/i"), container: {"i": INTEGER}}
    assert not takes(alone, wrong)
    whole = bundle(placed(words, f"d.json#/{container}/i"), {"d.json": {container: {"i": INTEGER}}})
    assert not takes(whole, wrong)


@pytest.mark.parametrize("old", [LISTED, DEPENDENT])
def test_words_of_draft_7_alone_are_read_in_it(old: dict[str, Any]) -> None:
    assert lower({"properties": {"x": old}}).validate({"x": [1, "a"]}) is None
    assert not takes({"properties": {"x": old}}, {"x": ["a"]} if old is LISTED else {"x": {"a": 1}})


def test_a_schema_in_words_of_two_versions_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"schema at /properties/x/items: `items` is draft 7's.*\$schema") as refused:
        lower({"properties": {"x": LISTED, "y": {"prefixItems": [INTEGER]}}})
    assert refused.value.pointer == "/properties/x/items"


@pytest.mark.parametrize("old", [LISTED, DEPENDENT])
@pytest.mark.parametrize(
    "new",
    [
        {"$defs": {}, "properties": {"x": {"$ref": "d"}}},
        {"properties": {"x": {"$ref": "d", "minItems": 2}}},
        {"properties": {"x": {"$ref": "d"}, "y": {"prefixItems": [INTEGER]}}},
    ],
)
def test_documents_in_words_of_two_versions_are_refused_by_name(old: dict[str, Any], new: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=r"the document 'd' has words that only draft 7 has.*name the version"):
        bundle(new, {"d": old})


def test_a_title_beside_a_reference_tells_no_version() -> None:
    whole = bundle({"properties": {"x": {"$ref": "d", "title": "X"}}}, {"d": LISTED})
    assert not takes(whole, {"x": ["a"]})
