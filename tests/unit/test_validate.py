"""Schemas that can be carried, and answers that fit them."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import CallError, InputError
from headrace.schema.validate import check_schema, parse_answer, pointer

RECORD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "links"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "links": {"type": "array", "items": {"type": "string", "format": "uri"}},
    },
}


def test_an_answer_that_fits_is_its_value() -> None:
    assert parse_answer('{"name": "a", "links": []}', RECORD) == {"name": "a", "links": []}


def test_every_failing_path_is_listed() -> None:
    with pytest.raises(CallError) as failed:
        parse_answer('{"name": "", "links": ["https://a.b/c", "no uri"], "more": 1}', RECORD)
    assert failed.value.code == "invalid_output"
    places = {error.partition(":")[0] for error in failed.value.details["errors"]}
    assert places == {"/name", "/links/1", "/"}


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"name": NaN, "links": []}', "[" * 100_000, "null"])
def test_what_is_no_such_json_is_invalid_and_kept(text: str) -> None:
    with pytest.raises(CallError) as failed:
        parse_answer(text, RECORD)
    assert failed.value.code == "invalid_output"
    assert failed.value.partial == text


def test_a_schema_with_references_inside_is_carried() -> None:
    schema = {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    assert check_schema(schema) is schema


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "object", "properties": {"a/b": {"$ref": "https://x.y/z"}}}, "/properties/a~1b/$ref"),
        ({"type": "object", "allOf": [{"$dynamicRef": "other.json"}]}, "/allOf/0/$dynamicRef"),
        ({"type": "string"}, "/type"),
        ({"type": "object", "required": "a"}, "/required"),
    ],
)
def test_what_cannot_be_carried_is_named_by_its_place(schema: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=place.replace("$", r"\$")):
        check_schema(schema)


def test_a_pointer_escapes_as_rfc_6901_says() -> None:
    assert pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"
    assert pointer([]) == "/"
