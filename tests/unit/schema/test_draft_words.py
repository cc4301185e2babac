"""A schema that names no version of JSON Schema is read in the one that its words tell, alone and with its documents."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import bundle, lower

DRAFT_7, DRAFT_2019 = "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema"
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
@pytest.mark.parametrize(
    ("new", "wrong"),
    [
        ({"unevaluatedProperties": False}, {"z": 1}),
        ({"dependentRequired": {"x": ["y"]}}, {"x": [1]}),
        ({"properties": {"y": {"contains": INTEGER, "minContains": 2}}}, {"y": [1]}),
        ({"properties": {"y": {"$ref": "#/definitions/i", "minimum": 3}}}, {"y": 1}),
        ({"$defs": {"i": INTEGER}, "properties": {"y": {"$ref": "#/$defs/i", "minimum": 3}}}, {"y": 1}),
    ],
)
def test_a_list_in_items_counts_beside_what_came_later(old: dict[str, Any], new: dict[str, Any], wrong: Any) -> None:
    schema = {"definitions": {"i": INTEGER}, **new, "properties": {**new.get("properties", {}), "x": old}}
    assert not takes(schema, wrong)
    assert not takes(schema, {"x": ["a"]} if old is LISTED else {"x": {"a": 1}})
    named = {**schema["properties"], "x": {"$ref": "old.json"}}
    whole = bundle({**schema, "properties": named}, {"old.json": old})
    assert not takes(whole, wrong)
    assert not takes(whole, {"x": ["a"]} if old is LISTED else {"x": {"a": 1}})


def test_keywords_of_which_no_version_has_all_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"schema at /properties/x/items: .*`prefixItems`.*\$schema") as refused:
        lower({"properties": {"x": LISTED, "y": {"prefixItems": [INTEGER]}}})
    assert refused.value.pointer == "/properties/x/items"
    with pytest.raises(SchemaError, match=r"schema at /items of the document 'd': .*`prefixItems` of the schema"):
        bundle({"properties": {"x": {"$ref": "d"}, "y": {"prefixItems": [INTEGER]}}}, {"d": LISTED})


@pytest.mark.parametrize(
    "beside", [{"title": "X"}, {"x-order": 3}, {"example": 1}, {"discriminator": {}}, {"definitions": {}}]
)
@pytest.mark.parametrize("document", [LISTED, {"$schema": DRAFT_7, **LISTED}])
def test_an_annotation_beside_a_reference_hinders_nothing(beside: dict[str, Any], document: dict[str, Any]) -> None:
    whole = bundle({"properties": {"x": {"$ref": "d", **beside}}}, {"d": document})
    assert not takes(whole, {"x": ["a"]})


@pytest.mark.parametrize("named", [DRAFT_7, DRAFT_2019])
@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"properties": {"x": {"$ref": "d", "minimum": 3}}}, "properties/x/minimum"),
        ({"properties": {"x": {"$ref": "d"}, "y": {"prefixItems": [INTEGER]}}}, "properties/y/prefixItems"),
        ({"properties": {"x": {"$ref": "d"}}, "unevaluatedProperties": False}, "unevaluatedProperties"),
    ],
)
def test_a_version_that_a_document_names_never_hides_a_constraint(
    named: str, schema: dict[str, Any], word: str
) -> None:
    document = {"$schema": named, **INTEGER}
    if named == DRAFT_2019 and "prefixItems" not in word:
        assert takes(bundle(schema, {"d": document}), {"x": 5})
        assert not takes(bundle(schema, {"d": document}), {"x": 1, "z": 1})
        return
    with pytest.raises(SchemaError, match=r"the document 'd' names .* counts for nothing") as refused:
        bundle(schema, {"d": document})
    assert refused.value.pointer == f"/{word}"


def test_a_version_that_the_schema_names_never_hides_a_constraint_of_a_document() -> None:
    schema = {"$schema": DRAFT_7, "properties": {"x": {"$ref": "d"}}}
    with pytest.raises(SchemaError, match=r"^schema at /prefixItems of the document 'd': the schema names draft 7"):
        bundle(schema, {"d": {"prefixItems": [INTEGER]}})


def test_definitions_of_openapi_are_read_as_they_are_meant() -> None:
    document = {"openapi": "3.0.0", "components": {"schemas": {"P": LISTED}}}
    whole = bundle({"properties": {"x": {"$ref": "api.json#/components/schemas/P"}}}, {"api.json": document})
    assert not takes(whole, {"x": ["a"]})
