"""Documents whose names or contents are nearly the same are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.cli.schema_files import with_files
from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import bundle, lower


def test_two_documents_never_share_a_definition() -> None:
    schema = {
        "$defs": {"a.json": {"type": "null"}},
        "type": "object",
        "properties": {"x": {"$ref": "a.json"}, "y": {"$ref": "a.json_"}},
    }
    lowered = lower(bundle(schema, {"a.json": {"type": "integer"}, "a.json_": {"type": "string"}}))
    lowered.validate({"x": 1, "y": "one"})
    for wrong in ({"x": "one"}, {"y": 1}):
        with pytest.raises(InvalidOutput):
            lowered.validate(wrong)


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, "1")])
def test_two_schemas_of_one_id_that_python_takes_for_equal_are_refused(one: object, other: object) -> None:
    documents = {name: {"$id": "https://x.test/s", "const": value} for name, value in (("a", one), ("b", other))}
    with pytest.raises(SchemaError, match="has the name"):
        bundle({"type": "object", "properties": {"x": {"$ref": "a"}, "y": {"$ref": "b"}}}, documents)


def test_a_document_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"const":"\xff\xfe"}')
    with pytest.raises(SchemaError, match=r"a\.json: not JSON"):
        with_files({"$ref": "a.json"}, str(tmp_path / "s.json"))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"items": {"$ref": "#/nope"}}, "schema at /items/$ref of the document 'a.json': '#/nope' leads nowhere"),
        ({"items": {"type": "text"}}, "schema at /items/type of the document 'a.json': "),
        ({"properties": {"b": {"pattern": "("}}}, "schema at /properties/b/pattern of the document 'a.json': "),
        (
            {"items": {"allOf": [{"$ref": "#/items"}]}},
            "schema at /items/allOf/0 of the document 'a.json': it refers to itself",
        ),
    ],
)
def test_locates_errors_within_the_document(document: Any, said: str) -> None:
    with pytest.raises(SchemaError) as refused:
        bundle({"$ref": "a.json"}, {"a.json": document})
    assert str(refused.value).startswith(said)
    assert said.startswith(f"schema at {refused.value.pointer} of")


@pytest.mark.parametrize(
    "hidden",
    [{"definitions": {"e": {"$id": "http://x.y/n", "$ref": "#/definitions/f"}, "f": {}}}, {"id": "http://x.y/n"}],
)
def test_ignores_ids_that_the_draft_does_not_read(hidden: Any) -> None:
    documents = {"a": hidden, "b": {"definitions": {"n": {"$id": "http://x.y/n", "type": "integer"}}}}
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"x": {"$ref": "http://x.y/n"}}}
    assert bundle(schema, documents)["properties"]["x"]["$ref"] == "#/definitions/b/definitions/n"


@pytest.mark.parametrize("reference", ["http://x.y/s/../a", "http://x.y/a", "http://x.y/./a"])
def test_dots_in_the_path_of_a_name_count_for_nothing(reference: str) -> None:
    assert "$defs" in bundle({"properties": {"x": {"$ref": reference}}}, {"http://x.y/s/../a": {"type": "integer"}})


def test_a_folder_is_no_file() -> None:
    with pytest.raises(SchemaError, match="no document of that name"):
        bundle({"properties": {"x": {"$ref": "a.json/"}}}, {"a.json": {}})


def test_a_document_that_is_nothing_but_a_circle_is_told_by_its_name() -> None:
    with pytest.raises(SchemaError, match=r"^schema at / of the document '[de]': it refers to itself"):
        bundle({"$ref": "d"}, {"d": {"$ref": "e"}, "e": {"$ref": "d"}})


def test_two_parts_of_one_id_are_refused() -> None:
    named = {"$defs": {"r": {"$id": "http://x.y/c", "$dynamicAnchor": "m"}}}
    inner = {"q": {"properties": {"q": {"$id": "http://x.y/c", "$dynamicRef": "#m"}}}}
    with pytest.raises(SchemaError, match=r"another schema has the `\$id` 'http://x.y/c' already"):
        lower(
            {"properties": {"q": named | {"properties": inner, "allOf": [{"$defs": {"s": {"$dynamicAnchor": "m"}}}]}}}
        )
