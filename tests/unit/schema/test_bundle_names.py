"""Documents whose names or contents are nearly the same are kept apart."""

from __future__ import annotations

from pathlib import Path

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
