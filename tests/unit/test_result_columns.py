"""The columns of results are those of the schema, not of the rows: in CSV, in Parquet, as Arrow."""

from __future__ import annotations

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.batches.kept_columns import with_kept
from headrace.batches.outputs.answer_shape import answer_shape
from headrace.batches.outputs.arrow_results import GrowingTable
from headrace.batches.outputs.export import check_suffix, errors_beside, holds, write_results
from headrace.batches.outputs.output_lines import error_line, success_line
from headrace.batches.outputs.result_columns import ResultColumns
from headrace.chat.completion import Completion, Usage
from headrace.errors import Failure, InputError

SCHEMA: dict[str, Any] = {
    "$defs": {
        "Money": {"type": "number", "multipleOf": 0.01},
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
    },
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "stars": {"type": "integer"},
        "price": {"$ref": "#/$defs/Money"},
        "weight": {"type": "number"},
        "day": {"type": "string", "format": "date"},
        "seen": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "ok": {"type": "boolean"},
        "kind": {"enum": ["a", "b", None]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "seller": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "of": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            },
        },
        "scores": {"type": "object", "additionalProperties": {"type": "integer"}},
        "tree": {"$ref": "#/$defs/Node"},
        "any": {},
    },
}
VALUE: dict[str, Any] = {
    "name": "x",
    "stars": 5,
    "price": msgspec.Raw(b"12.50"),
    "weight": msgspec.Raw(b"1.10"),
    "day": "2024-05-01",
    "seen": "2024-05-01T12:00:00.5+02:00",
    "ok": True,
    "kind": None,
    "tags": ["a", "b"],
    "seller": {"name": "Ann", "of": [{"n": 1}, None]},
    "scores": {"a": 1, "b": 2},
    "tree": {"next": {"next": None}},
    "any": [1, {"a": None}],
}
NAMES = [*("custom_id", "name", "stars", "price", "weight", "day", "seen", "ok", "kind", "tags"), "scores", "any"]


def line(custom_id: str, value: Any, **kept: Any) -> bytes:
    content = msgspec.json.encode(value).decode()
    completion = Completion(
        id="c",
        model="m",
        created=0,
        content=content,
        finish_reason="stop",
        usage=Usage(1, 1),
        value=msgspec.json.decode(content),
        mode="strict",
    )
    found = success_line(custom_id, f"r.{custom_id}", completion)
    return with_kept(found, msgspec.json.encode({"custom_id": custom_id, "kept": kept})) if kept else found


def saved(path: Path, *lines: bytes, columns: ResultColumns, **options: Any) -> int:
    return write_results(lambda: iter(lines), path, structured=True, whole=False, columns=columns, **options)


def table(path: Path, **options: Any) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, **options)
        rows = list(reader)
        return list(reader.fieldnames or ()), rows


def test_a_csv_has_the_columns_of_the_schema_whatever_the_rows_hold(tmp_path: Path) -> None:
    columns = ResultColumns.of(SCHEMA, None)
    right = [*NAMES[:-2], "seller.name", "seller.of", "scores", "tree.next", "any"]
    for rows in ([], [line("a", {})], [line("a", VALUE), line("b", {"name": None})]):
        saved(tmp_path / "out.csv", *rows, columns=columns)
        names, _ = table(tmp_path / "out.csv")
        assert names == right
    _, (first, second) = table(tmp_path / "out.csv")
    assert first["price"] == "12.50"
    assert (first["scores"], first["tags"]) == ('{"a":1,"b":2}', '["a","b"]'), "a map is one cell, as a list is"
    assert first["seller.name"] == "Ann"
    assert set(second.values()) == {"b", ""}


def test_what_no_schema_lists_is_not_lost(tmp_path: Path) -> None:
    columns = ResultColumns.of(SCHEMA, None)
    more = {"name": "x", "new": 1, "seller": {"name": "Ann", "age": [7], "of": [{"n": 1, "m": 2}]}}
    saved(tmp_path / "out.csv", line("a", {"name": "y"}), line("b", more), columns=columns)
    names, rows = table(tmp_path / "out.csv")
    assert names[-1] == "other"
    assert json.loads(rows[1]["other"]) == {"new": 1, "seller.age": [7]}
    saved(tmp_path / "out.parquet", line("a", {"name": "y"}), line("b", more), columns=columns)
    out = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert out[0]["other"] is None
    assert json.loads(out[1]["other"]) == {"new": 1, "seller.age": [7], "seller.of[0].m": 2}


def test_parquet_has_the_types_of_the_schema(tmp_path: Path) -> None:
    saved(tmp_path / "out.parquet", line("a", VALUE), line("b", {}), columns=ResultColumns.of(SCHEMA, None))
    out = pq.read_table(tmp_path / "out.parquet")
    seller = out.schema.field("seller").type
    assert {
        name: str(out.schema.field(name).type).replace(" ('scores')", "")
        for name in out.schema.names
        if name != "seller"
    } == {
        "custom_id": "string",
        "name": "string",
        "stars": "int64",
        "price": "decimal128(38, 2)",
        "weight": "double",
        "day": "date32[day]",
        "seen": "timestamp[us, tz=UTC]",
        "ok": "bool",
        "kind": "string",
        "tags": "list<element: string>",
        "scores": "map<string, int64>",
        "tree": "struct<next: string>",
        "any": "string",
    }
    assert [seller.field(at).name for at in range(seller.num_fields)] == ["name", "of"]
    row, empty = out.to_pylist()
    assert row["price"] == Decimal("12.50")
    assert row["seen"].isoformat() == "2024-05-01T10:00:00.500000+00:00"
    assert row["seller"] == {"name": "Ann", "of": [{"n": 1}, None]}
    assert row["scores"] == [("a", 1), ("b", 2)]
    assert (row["tree"], row["any"]) == ({"next": '{"next":null}'}, '[1,{"a":null}]')
    assert {name for name, value in empty.items() if value is not None} == {"custom_id"}


def test_parquet_of_no_rows_has_all_columns(tmp_path: Path) -> None:
    assert saved(tmp_path / "out.parquet", columns=ResultColumns.of(SCHEMA, None)) == 0
    assert pq.read_table(tmp_path / "out.parquet").schema.names[:3] == ["custom_id", "name", "stars"]


def test_a_value_that_is_none_of_its_columns_type_is_named(tmp_path: Path) -> None:
    columns = ResultColumns.of(SCHEMA, None)
    with pytest.raises(
        InputError, match=r"'stars' of 'b': is no value of the column's type, int64: .*\.jsonl or \.csv"
    ):
        saved(tmp_path / "out.parquet", line("a", {"stars": 1}), line("b", {"stars": 10**30}), columns=columns)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="'day' of 'a'"):
        saved(tmp_path / "out.parquet", line("a", {"day": "soon"}), columns=columns)


def test_excel_opens_a_csv(tmp_path: Path) -> None:
    saved(tmp_path / "out.csv", line("a", {"name": "Größe; =1"}), columns=ResultColumns.of(SCHEMA, None), excel=True)
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfcustom_id;name;stars;")
    _, rows = table(tmp_path / "out.csv", delimiter=";")
    assert rows[0]["name"] == "Größe; =1"
    with pytest.raises(InputError, match="--excel is for tables"):
        check_suffix(Path("out.jsonl"), whole=False, excel=True)


def test_names_that_meet_are_told_apart(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"sku": {"type": "integer"}, "custom_id": {"type": "string"}}}
    columns = ResultColumns.of(schema, KeptColumns(["sku", "=note"]))
    rows = [line("a", {"sku": 2, "custom_id": "b"}, sku="s", **{"=note": "=1+1"})]
    saved(tmp_path / "out.csv", *rows, columns=columns)
    assert table(tmp_path / "out.csv")[1] == [
        {"custom_id": "a", "sku": "s", "'=note": "'=1+1", "value.sku": "2", "value.custom_id": "b"}
    ]
    saved(tmp_path / "out.parquet", *rows, columns=columns)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"custom_id": "a", "sku": "s", "=note": "=1+1", "value.sku": 2, "value.custom_id": "b"}
    ]


def test_kept_columns_of_an_untyped_input_have_the_type_that_all_values_have(tmp_path: Path) -> None:
    kept = [
        {"n": 1, "x": 1, "t": "a", "b": True, "m": 1, "o": {"a": 1}, "z": None},
        {"n": None, "x": 1.5, "t": None, "b": False, "m": "one", "o": [1], "z": None},
    ]
    columns = ResultColumns.of({"type": "object", "properties": {}}, KeptColumns(None))
    rows = [line(str(n), {}, **values) for n, values in enumerate(kept)]
    saved(tmp_path / "out.parquet", *rows, columns=columns)
    out = pq.read_table(tmp_path / "out.parquet")
    kinds = {"n": pa.int64(), "x": pa.float64(), "t": pa.string(), "b": pa.bool_(), "m": pa.string(), "o": pa.string()}
    assert {name: out.schema.field(name).type for name in kinds} == kinds
    assert out.column("m").to_pylist() == ["1", "one"]
    assert out.column("o").to_pylist() == ['{"a":1}', "[1]"]
    saved(tmp_path / "out.csv", *rows, columns=columns)
    assert table(tmp_path / "out.csv")[0][:8] == ["custom_id", "n", "x", "t", "b", "m", "o", "z"]


def test_compressed_and_parquet_files_are_the_same_each_time(tmp_path: Path) -> None:
    """So a file is known again as untouched, and may be replaced by the results of a retry."""
    columns = ResultColumns.of(SCHEMA, None)
    rows = [line(str(n), VALUE) for n in range(3000)]
    for name in ("out.jsonl.gz", "out.csv.gz", "out.csv.zst", "out.parquet", "out.jsonl", "out.tsv"):
        path = tmp_path / name
        saved(path, *rows, columns=columns)
        assert holds(lambda: iter(rows), path, structured=True, whole=False, columns=columns)
        assert not holds(lambda: iter(rows[1:]), path, structured=True, whole=False, columns=columns)
        path.write_bytes(path.read_bytes() + b" ")
        assert not holds(lambda: iter(rows), path, structured=True, whole=False, columns=columns)
        with pytest.raises(InputError, match="exists already; it appeared meanwhile"):
            saved(path, *rows, columns=columns, overwrite=False)


def test_the_errors_of_a_compressed_file_lie_beside_it(tmp_path: Path) -> None:
    assert errors_beside(Path("a/rows.csv.gz")) == Path("a/rows.errors.csv.gz")
    assert errors_beside(Path("rows.parquet")) == Path("rows.errors.parquet")
    failure = Failure("refusal", "it declined", partial="No.")
    columns = ResultColumns.of(SCHEMA, KeptColumns(["sku"])).errors()
    item = b'{"custom_id":"a","kept":{"sku":"s"}}'
    rows = [with_kept(error_line("a", "r", failure), item)]
    saved(tmp_path / "e.csv.gz", *rows, columns=columns)
    text = gzip.decompress((tmp_path / "e.csv.gz").read_bytes()).decode()
    assert text == "custom_id,sku,error.code,error.message,error.partial\r\na,s,refusal,it declined,No.\r\n"
    saved(tmp_path / "e.parquet", *rows, columns=columns)
    assert pq.read_table(tmp_path / "e.parquet").to_pylist() == [
        {
            "custom_id": "a",
            "sku": "s",
            "error.code": "refusal",
            "error.message": "it declined",
            "error.details": '{"partial":"No."}',
        }
    ]


def test_a_table_in_memory_has_failures_in_their_places() -> None:
    growing = GrowingTable(ResultColumns.of(SCHEMA, None), structured=True)
    lines: list[bytes] = [line("a", VALUE), error_line("b", "r", Failure("timeout", "late")), line("c", {"stars": 1})]
    growing.add(lines)
    out = growing.whole()
    assert out.column("custom_id").to_pylist() == ["a", "b", "c"]
    assert out.column("stars").to_pylist() == [5, None, 1]
    assert out.column("error.code").to_pylist() == [None, "timeout", None]


def test_answers_of_several_shapes_have_the_fields_of_all() -> None:
    cat = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}}
    dog = {"type": "object", "properties": {"kind": {"const": "dog"}, "breed": {"type": "string"}}}
    shape = answer_shape({"oneOf": [cat, dog]})
    assert {name: field.kind for name, field in shape.fields.items()} == {
        "kind": "string",
        "lives": "integer",
        "breed": "string",
    }
    assert answer_shape({"anyOf": [{"type": "string"}, {"type": "integer"}]}).kind == "json"
    assert answer_shape({"$ref": "#"}).kind == "json"
    assert answer_shape({"$ref": "http://elsewhere/x.json"}).kind == "json"
    assert (
        answer_shape({"allOf": [cat, {"properties": {"more": {"type": "boolean"}}}]}).fields["more"].kind == "boolean"
    )
    assert answer_shape({"type": "integer", "maximum": 10**25}).kind == "decimal"
