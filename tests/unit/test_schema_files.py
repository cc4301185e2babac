"""Schema files that refer to other files: in their own folder or below it, and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli.params import given_schema
from headrace.cli.schema import schema
from headrace.errors import InputError, SchemaError
from headrace.schema import lower

INTEGER = {"type": "integer"}


def written(folder: Path, **files: Any) -> str:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder / "person.json")


def of(reference: str, **words: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"$ref": reference}}, "required": ["a"], **words}


@pytest.mark.parametrize(
    ("person", "files"),
    [
        (of("address.json"), {"address": INTEGER}),
        (of("./x/../address.json#/$defs/i"), {"address": {"$defs": {"i": INTEGER}}}),
        (of("parts/address.json"), {"parts__address": {"$ref": "../other.json"}, "other": INTEGER}),
        (of("my%20address.json"), {"my address": INTEGER}),
        (of("address.json", **{"$id": "https://x.y/schemas/person"}), {"address": INTEGER}),
        (of("https://x.y/schemas/address.json", **{"$id": "https://x.y/schemas/person"}), {"address": INTEGER}),
        (of("address.json"), {"address": {"$ref": "person.json#/$defs/i"}}),
    ],
)
def test_a_reference_is_read_from_the_folder_of_the_schema(
    tmp_path: Path, person: dict[str, Any], files: dict[str, Any]
) -> None:
    word = written(tmp_path, person={**person, "$defs": {"i": INTEGER}}, **files)
    whole, name = given_schema(word)
    assert name == "person"
    lowered = lower(whole, reading="intended")
    assert lowered.wire["properties"] == {"a": INTEGER}


def test_a_file_that_refers_back_is_the_schema_itself(tmp_path: Path) -> None:
    word = written(
        tmp_path, person=of("address.json", required=[]), address={"properties": {"p": {"$ref": "person.json"}}}
    )
    whole, _ = given_schema(word)
    assert list(whole["$defs"]) == ["address.json"]
    assert whole["$defs"]["address.json"]["properties"]["p"] == {"$ref": "#"}


@pytest.mark.parametrize("reference", ["person.json", "person.json#", "./person.json"])
def test_a_file_that_refers_to_itself_by_name_needs_no_other(tmp_path: Path, reference: str) -> None:
    whole, _ = given_schema(written(tmp_path, person=of(reference, required=[])))
    assert whole["properties"]["a"] == {"$ref": "#"}


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("missing.json", "missing.json: No such file or directory"),
        ("../outside.json", "lies outside of the folder"),
        ("linked.json", "lies outside of the folder"),
        ("circle.json", "circle.json: "),
        ("parts", "is no file"),
        ("pipe", "is no file"),
        ("broken.json", "broken.json: not JSON"),
        ("large.json", "more than 4 MiB"),
        ("list.json", "of type list"),
        ("/outside.json", "names no file in the folder"),
        ("%2Foutside.json", "names no file in the folder"),
        ("file:///outside.json", "names no file in the folder"),
        ("http://127.0.0.1:1/x.json", "names no file in the folder"),
        ("//127.0.0.1/x.json", "names no file in the folder"),
        ("x%00.json", "names no file in the folder"),
        ("x" * 300, "name too long"),
    ],
)
def test_refuses_unreadable_referenced_files_by_file_and_place(tmp_path: Path, reference: str, reason: str) -> None:
    folder = tmp_path / "schemas"
    (folder / "parts").mkdir(parents=True)
    word = written(folder, person=of(reference), broken="{", large=" " * (5 << 20), list="[]")
    (tmp_path / "outside.json").write_text("{}")
    (folder / "linked.json").symlink_to(tmp_path / "outside.json")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    os.mkfifo(folder / "pipe")
    with pytest.raises(SchemaError) as refused:
        given_schema(word)
    assert str(refused.value).startswith(f"--schema {word}: schema at /properties/a/$ref: ")
    assert reason.lower() in str(refused.value).lower()
    assert refused.value.pointer == "/properties/a/$ref"


def test_a_schema_that_lacks_a_file_cannot_be_carried(tmp_path: Path) -> None:
    word = written(tmp_path, person=of("address.json"))
    ended = CliRunner().invoke(schema, ["check", word, "--json"])
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["refused"]["pointer"] == "/properties/a/$ref"
    (tmp_path / "address.json").write_text(json.dumps(INTEGER))
    assert CliRunner().invoke(schema, ["check", word, "--json"]).exit_code == 0
    (tmp_path / "row.json").write_text('{"a": 1}')
    assert CliRunner().invoke(schema, ["validate", word, str(tmp_path / "row.json")]).exit_code == 0


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    word = written(tmp_path, person=of("address.json"), data__address=INTEGER)
    (tmp_path / "address.json").symlink_to(tmp_path / "data" / "address.json")
    whole, _ = given_schema(word)
    assert lower(whole, reading="intended").wire["properties"] == {"a": INTEGER}


def test_standard_input_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, json.dumps(of("address.json")).encode())
    os.close(writer)
    with open(reader) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(InputError, match="standard input has no folder"):
            given_schema("-")
