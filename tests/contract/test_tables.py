"""Tables in, tables out, against the whole service: rows carry the input's columns, whichever way they are read."""

from __future__ import annotations

import csv
import datetime as dt
import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, field_validator
from stack import Stack, headrace

from headrace import AsyncHeadrace, Headrace
from headrace.errors import InputError
from headrace.settings import Settings

BOTH_WAYS = True
MODEL = "rehearsal/small"
FAILS = "[[rehearsal fault=miss times=9]] x"


class Review(BaseModel):
    summary: str
    stars: int


def table(count: int = 40) -> pa.Table:
    return pa.table(
        {
            "sku": [f"A{n}" for n in range(count)],
            "text": [FAILS if n == 7 else f"Review {n}" for n in range(count)],
            "price": pa.array([Decimal(n) / 100 for n in range(count)], pa.decimal128(12, 2)),
            "day": [dt.date(2024, 5, 1) + dt.timedelta(n) for n in range(count)],
            "seen": pa.array(
                [dt.datetime(2024, 5, 1, 12, 0, n, n, dt.UTC) for n in range(count)], pa.timestamp("us", "UTC")
            ),
            "tags": [["a", f"t{n}"] if n % 2 else None for n in range(count)],
            "made": [{"by": f"p{n}", "in": n} for n in range(count)],
            "weight": [n / 7 for n in range(count)],
        }
    )


def test_rows_carry_columns_of_the_input(client: Headrace, tmp_path: Path) -> None:
    source = table()
    batch = client.extract(source, "Rate: {text}", id="sku", keep=["price", "day"], schema=Review, model=MODEL)
    live = [(row.custom_id, row.kept, row.ok) for row in batch.results()]
    assert [name for name, _, _ in live] == source.column("sku").to_pylist()
    assert live[3] == ("A3", {"price": 0.03, "day": "2024-05-04"}, True)
    assert live[7] == ("A7", {"price": 0.07, "day": "2024-05-08"}, False)
    batch.wait(60)
    assert [(row.custom_id, row.kept, row.ok) for row in batch.results()] == live
    errors = batch.save(tmp_path / "rows.jsonl")
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert lines[3].startswith('{"custom_id":"A3","kept":{"price":0.03,"day":"2024-05-04"},"value":{')
    assert errors is not None
    assert '"kept":{"price":0.07,"day":"2024-05-08"},"error":' in errors.read_text()
    errors = batch.save(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["custom_id", "price", "day", "summary", "stars"]
    assert rows[1]["price"] == "0.01", "a decimal keeps its digits"
    assert errors is not None
    assert errors.read_text().startswith("custom_id,price,day,error.code,error.message")


def test_a_batch_that_follows_another_keeps_its_columns(client: Headrace) -> None:
    class Picky(Review):
        @field_validator("summary")
        @classmethod
        def refuse(cls, said: str) -> str:
            raise ValueError("never")

    batch = client.extract(table(8), "Rate: {text}", id="sku", keep="all", schema=Review, model=MODEL)
    assert batch.wait(60).failed == 1
    again = batch.retry()
    again.wait(60)
    assert [row.kept["weight"] for row in again.results()] == [n / 7 for n in range(8)]
    picky = client.extract(table(3), "Rate: {text}", id="sku", keep=["made"], schema=Picky, reasks=1, model=MODEL)
    rows = list(picky.results())
    assert [row.ok for row in rows] == [False] * 3
    assert [row.kept for row in rows] == [{"made": {"by": f"p{n}", "in": n}} for n in range(3)]


def test_a_table_returns_from_parquet_as_it_was(client: Headrace, tmp_path: Path) -> None:
    source = table()
    pq.write_table(source, tmp_path / "in.parquet")
    batch = client.extract(tmp_path / "in.parquet", "Rate: {text}", id="sku", keep="all", schema=Review, model=MODEL)
    batch.wait(60)
    errors = batch.save(tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(source.column_names) == pa.concat_tables([source.slice(0, 7), source.slice(8)])
    assert out.schema.field("stars").type == pa.int64()
    assert out.schema.field("summary").type == pa.string()
    assert errors is not None
    failed = pq.read_table(errors)
    assert failed.select(source.column_names) == source.slice(7, 1)
    assert failed.column("error.code").to_pylist() == ["invalid_output"]
    with pytest.raises(InputError, match="same file"):
        batch.save(tmp_path / "in.parquet")


def test_results_are_tables_typed_by_the_schema(client: Headrace) -> None:
    source = table(20)
    batch = client.extract(source, "Rate: {text}", id="sku", keep=["seen", "tags"], schema=Review, model=MODEL)
    found = batch.results().to_arrow()
    assert found.schema.names == [
        *("custom_id", "seen", "tags", "summary", "stars", "error.code", "error.message", "error.details")
    ]
    assert found.select(["seen", "tags"]) == source.select(["seen", "tags"])
    assert found.column("stars").null_count == 1
    frame = batch.results().to_polars()
    assert frame["error.code"].to_list() == [None] * 7 + ["invalid_output"] + [None] * 12
    assert frame.schema["seen"].time_zone == "UTC"
    assert list(batch.results().to_pandas()["custom_id"]) == [f"A{n}" for n in range(20)]


def test_kept_numbers_have_the_digits_of_the_input(client: Headrace, tmp_path: Path) -> None:
    """Also where an item was read and written again on its way: by a gateway, and for a batch that asks again."""

    class Never(Review):
        @field_validator("stars")
        @classmethod
        def refuse(cls, stars: int) -> int:
            raise ValueError("never")

    (tmp_path / "in.jsonl").write_text('{"text": "x", "n": 1.10, "l": [2.50, {"a": 1e3}], "z": null}\n')
    batch = client.extract(tmp_path / "in.jsonl", keep="all", schema=Never, reasks=1, model=MODEL)
    batch.wait(60)
    errors = batch.save(tmp_path / "out.jsonl")
    assert errors is not None
    assert '"kept":{"text":"x","n":1.10,"l":[2.50,{"a":1e3}],"z":null},"error":{' in errors.read_text()


def test_results_never_replace_what_is_there(client: Headrace, stack: Stack, tmp_path: Path) -> None:
    batch = client.extract(["x"], model=MODEL)
    batch.wait(60)
    batch.save(tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        batch.save(tmp_path / "out.parquet", overwrite=False)
    (tmp_path / "in.csv").write_text("text\nx\n")
    paid = len(stack.calls())
    words = ["extract", "in.csv", "--model", MODEL, "--out", "out.parquet"]
    done = headrace(*words, env=stack.client_environment, cwd=tmp_path)
    assert (done.returncode, len(stack.calls())) == (2, paid)
    assert "exists already; give --force" in done.stderr
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_bad_rows_become_error_lines_in_order(client: Headrace, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"id": "a", "text": "fine"}\n{broken\n{"id": "c"}\n{"id": "a", "text": "again"}\n{"text": "e"}\n'
    )
    batch = client.extract(source, model=MODEL, on_bad_row="error", keep=["text"])
    assert batch.bad_rows == 3
    rows = list(batch.results())
    assert [(row.custom_id, row.ok) for row in rows] == [
        *[("a", True), ("line-2", False), ("c", False), ("line-4", False), ("line-5", True)]
    ]
    assert next(row.error.message for row in rows if row.error).startswith(f"{source}, line 2: broken JSON")
    assert {row.error.code for row in rows if row.error} == {"invalid_request"}
    skipped = client.extract(source, model=MODEL, on_bad_row="skip")
    assert [row.custom_id for row in skipped.results()] == ["a", "line-5"]
    assert skipped.bad_rows == 3
    with pytest.raises(InputError, match="3 of its lines cannot be used"):
        client.extract(source, model=MODEL)


def test_results_come_as_a_stream_of_record_batches(client: Headrace, tmp_path: Path) -> None:
    rows: list[Any] = [{"id": str(n), "text": f"{tmp_path.name} {n}", "n": n} for n in range(5000)]
    rows[4999]["text"] = "[[rehearsal fault=400]]"
    batch = client.extract(rows, model=MODEL, keep="n", schema=SCHEMA)
    reader = batch.results().to_batches()
    batches = list(reader)
    assert len(batches) > 1
    assert pa.Table.from_batches(batches, reader.schema).equals(batch.results().to_arrow())
    assert pa.table(batch.results().to_batches()).column("error.code").to_pylist()[-1] == "invalid_request"
    next(iter(batch.results().to_batches()))  # who stops early leaves nothing behind


async def test_record_batches_come_one_by_one(stack: Stack, tmp_path: Path) -> None:
    async with AsyncHeadrace(settings=Settings.load(stack.client_environment)) as client:
        batch = await client.extract([tmp_path.name], model=MODEL)
        assert [each.num_rows async for each in batch.results().to_batches()] == [1]


@pytest.mark.parametrize("schema", [None, {"type": "object", "properties": {"sku": {"type": "string"}}}])
def test_kept_columns_hide_no_column_of_the_results(client: Headrace, tmp_path: Path, schema: Any) -> None:
    row = {"sku": "s1", "custom_id": "x1", "error.code": "mine", "kept.custom_id": "k1", "text": tmp_path.name}
    rows = [row, row | {"sku": "s2", "text": f"[[rehearsal fault=400]] {tmp_path.name}"}]
    batch = client.extract(rows, model=MODEL, id="sku", keep=list(row)[:4], schema=schema)
    kept = {"sku": "s1", "kept.custom_id": "x1", "kept.error.code": "mine", "kept.kept.custom_id": "k1"}
    first, second = batch.results().to_arrow().to_pylist()
    assert first.items() >= (kept | {"custom_id": "s1", "error.code": None}).items()
    assert second.items() >= (kept | {"sku": "s2", "custom_id": "s2", "error.code": "invalid_request"}).items()
    batch.save(tmp_path / "out.csv")
    (done,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    (failed,) = csv.DictReader((tmp_path / "out.errors.csv").read_text().splitlines())
    assert done.items() >= (kept | {"custom_id": "s1"}).items()
    assert failed.items() >= (kept | {"sku": "s2", "custom_id": "s2", "error.code": "invalid_request"}).items()


def test_kept_columns_are_there_when_the_first_rows_cannot_be_used(client: Headrace, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"id": "a"}\n{"id": "b", "n": 1}\n{"id": "c", "text": "x", "n": 2}\n{"id": "d", "text": "y", "n": 3}\n'
    )
    batch = client.extract(source, model=MODEL, on_bad_row="error", keep="n")
    assert batch.results().to_arrow().column("n").to_pylist() == [None, 1, 2, 3], "of all rows that have it"
    batch.save(tmp_path / "out.csv")
    assert [row["n"] for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines())] == ["2", "3"]
    failed = csv.DictReader((tmp_path / "out.errors.csv").read_text().splitlines())
    assert [(row["custom_id"], row["n"]) for row in failed] == [("a", ""), ("b", "1")]


@pytest.mark.parametrize("cache", ["on", "off", "read"])
def test_rows_that_cannot_be_used_disturb_no_neighbour(
    stack: Stack, client: Headrace, tmp_path: Path, cache: str
) -> None:
    texts: list[Any] = [f"[[rehearsal latency=300]] {tmp_path.name} {n}" for n in range(300)]
    texts[200] = None
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    batch = client.extract(source, model=MODEL, on_bad_row="error", cache=cache)
    batch.wait(60)
    assert [row.ok for row in batch.results()] == [text is not None for text in texts]
    assert batch.progress().unaccounted_calls == 0
    assert len(stack.calls_of(batch.id)) == 299, "no call is made twice"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "scores": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["summary", "scores"],
    "additionalProperties": False,
}


def test_a_csv_becomes_what_excel_opens_by_one_command(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("sku,text,note\nA1,fine,=1+1\nA2,good,ü\n")
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    run = partial(headrace, env=stack.client_environment, cwd=tmp_path)
    words = [*("in.csv", "--id", "sku", "--keep", "note", "--schema", "schema.json", "--model", MODEL)]
    done = run("extract", *words, "--out", "rows.csv", "--excel")
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "rows.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfcustom_id;note;summary;scores\r\nA1;'=1+1;")
    done = run("extract", *words, "--out", "rows.tsv.zst")
    assert done.returncode == 0, done.stderr
    printed = run("extract", "in.csv", "--keep", "all", "--limit", "1", "--model", MODEL)
    assert printed.returncode == 0, printed.stderr
    assert '"kept":{"sku":"A1","text":"fine","note":"=1+1"},"value":"' in printed.stdout
    again = run("extract", "rows.tsv.zst", "--prompt", "{note}", "--model", MODEL, "--dry-run")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["first_messages"][0]["content"] == "'=1+1"
