"""One table, in whatever form it is given, makes the same prompts and keeps the same columns."""

from __future__ import annotations

import datetime as dt
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_forms import FORMS, PROMPT, TYPES, as_arrow, prompts

from headrace.batches.ingest import read_items
from headrace.batches.inputs import seen_ids
from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import Complaints
from headrace.batches.inputs.sources import kept_columns, once, records
from headrace.batches.outputs.arrow_results import write_parquet
from headrace.batches.outputs.result_columns import ResultColumns
from headrace.batches.prompt import prompt_fields
from headrace.batches.template import Item, Template
from headrace.errors import InputError
from headrace.text import digits


def items(source: Any, prompt: str = PROMPT, **options: Any) -> list[Item]:
    template = Template(model="rehearsal/x", prompt=prompt)
    choice = ColumnChoice.of(prompt_fields(prompt), options.get("id"), options.get("keep"))
    return list(read_items(records(source, choice=choice), template, choice=choice))


def asked(source: Any, prompt: str = PROMPT) -> list[str]:
    template = Template(model="rehearsal/x", prompt=prompt)
    return [template.messages(item)[0]["content"] for item in items(source, prompt, id="sku")]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_makes_the_same_prompts(tmp_path: Path, form: str) -> None:
    assert asked(FORMS[form](tmp_path, 3000)) == prompts(3000)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_large_table_makes_the_same_prompts(tmp_path: Path, form: str) -> None:
    assert asked(FORMS[form](tmp_path, 100_000)) == prompts(100_000)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_keeps_the_same_columns(tmp_path: Path, form: str) -> None:
    found = items(FORMS[form](tmp_path, 50), "{text}", id="sku", keep="sku,price,day,ok")
    kept = [digits.decode(msgspec.json.encode(item.kept)) for item in found]
    rows = as_arrow(50).to_pylist()
    assert [item.custom_id for item in found] == [row["sku"] for row in rows]
    assert [list(row) for row in kept] == [["sku", "price", "day", "ok"]] * 50
    for row, right in zip(kept, rows, strict=True):
        assert row["sku"] == right["sku"]
        assert row["day"] == right["day"].isoformat()
        assert row["ok"] in (right["ok"], json.dumps(right["ok"]))
    prices = [row["price"] if isinstance(row["price"], str) else bytes(row["price"]).decode() for row in kept]
    assert prices == [str(row["price"]) for row in rows]


ROUND_TRIP: dict[str, tuple[list[Any], pa.DataType]] = {
    "text": (["a", None, ""], pa.string()),
    "large text": (["a", None, "ü"], pa.large_string()),
    "small int": ([1, None, -128], pa.int8()),
    "unsigned": ([2**64 - 1, None, 0], pa.uint64()),
    "double": ([0.1, None, 1e300], pa.float64()),
    "not finite": ([float("inf"), float("-inf"), None], pa.float64()),
    "single": ([0.10000000149011612, None, 2.0], pa.float32()),
    "truth": ([True, None, False], pa.bool_()),
    "decimal": ([Decimal("12345678901234567890.123456789"), None, Decimal("-0.000000001")], pa.decimal128(38, 9)),
    "tiny decimal": ([Decimal("1E-30"), None, Decimal(0)], pa.decimal128(38, 30)),
    "long decimal": ([Decimal(10) ** 60, None, Decimal(-1)], pa.decimal256(70, 0)),
    "date": ([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], pa.date32()),
    "date64": ([dt.date(2024, 2, 29), None, dt.date(1969, 12, 31)], pa.date64()),
    "moment": ([1_704_070_923_000_004, None, -3_600_000_000], pa.timestamp("us")),
    "moment of a zone": ([dt.datetime(2024, 7, 1, tzinfo=dt.UTC), None, None], pa.timestamp("ms", "Europe/Berlin")),
    "nanoseconds": ([1_700_000_000_123_456_789, None, -1], pa.timestamp("ns", "UTC")),
    "seconds": ([1_700_000_000, None, -1], pa.timestamp("s")),
    "time": ([dt.time(1, 2, 3, 4), None, dt.time(23, 59, 59, 999_999)], pa.time64("us")),
    "short time": ([dt.time(1, 2, 3), None, dt.time(0)], pa.time32("s")),
    "duration": ([5, None, -5], pa.duration("ms")),
    "bytes": ([b"\x00\xff", None, b""], pa.binary()),
    "fixed bytes": ([b"\x00\xff", None, b"ab"], pa.binary(2)),
    "list": ([["a", None], None, []], pa.list_(pa.string())),
    "list of decimals": ([[Decimal("1.10"), None], None, []], pa.list_(pa.decimal128(10, 2))),
    "list of dates": ([[dt.date(2024, 5, 1), None], None, []], pa.list_(pa.date32())),
    "pair": ([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
    "record": (
        [{"a": 1, "b": {"c": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]}}, None, {"a": None, "b": None}],
        pa.struct([("a", pa.int32()), ("b", pa.struct([("c", pa.list_(pa.timestamp("us", "UTC")))]))]),
    ),
    "map": ([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
    "map of numbers": ([[(1, "x")], None, []], pa.map_(pa.int32(), pa.string())),
    "structs of maps": (
        [{"m": [("k", [1.5])]}, None, {"m": None}],
        pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.float64())))]),
    ),
    "nothing": ([None, None, None], pa.null()),
}


@pytest.mark.parametrize("what", ROUND_TRIP)
def test_a_kept_column_comes_back_from_parquet_with_its_type(tmp_path: Path, what: str) -> None:
    values, kind = ROUND_TRIP[what]
    source = pa.table({"text": ["x", "y", "z"], "it": pa.array(values, kind)})
    pq.write_table(source, tmp_path / "in.parquet")
    source = pq.read_table(tmp_path / "in.parquet")  # Parquet itself has no seconds, and no 64-bit dates
    choice = ColumnChoice.of(["text"], None, ["it"])
    kept = kept_columns(tmp_path / "in.parquet", choice)
    found = items(tmp_path / "in.parquet", "{text}", keep=["it"])

    def rows() -> Any:
        for item in found:
            yield {"custom_id": item.custom_id, "kept": digits.decode(msgspec.json.encode(item.kept)), "value": "v"}

    assert write_parquet(rows, tmp_path / "out.parquet", ResultColumns.of({"type": "string"}, kept)) == 3
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.schema.field("it").type == source.schema.field("it").type
    assert out.column("it") == source.column("it")


def test_categories_and_views_are_read_as_what_they_stand_for() -> None:
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    source = pa.table({"text": pa.array(["x", "y", "z"], pa.string_view()), "kind": column})
    assert [record.fields for record in records(source)] == [
        {"text": text, "kind": kind} for text, kind in zip("xyz", "aba", strict=True)
    ]
    kept = kept_columns(once(source), ColumnChoice.of(["text"], None, "all"))
    assert kept is not None
    assert pa.ipc.read_schema(pa.py_buffer(kept.types)) == pa.schema([("text", pa.string()), ("kind", pa.string())])


def test_files_of_one_input_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jsonl").write_text('{"text": "2"}\n{"text": "3"}\n')
    (tmp_path / "a.csv").write_text("text\n1\n")
    (tmp_path / "sub" / "c.json").write_text('[{"text": "4"}]')
    (tmp_path / ".hidden.jsonl").write_text("{}")
    whole = [("a.csv:line-2", "1"), ("b.jsonl:line-1", "2"), ("b.jsonl:line-2", "3"), ("sub/c.json:line-1", "4")]
    assert [(item.custom_id, item.fields["text"]) for item in items(tmp_path, "{text}")] == whole
    pattern = [(item.custom_id, item.fields["text"]) for item in items(str(tmp_path / "**" / "*.json*"), "{text}")]
    assert pattern == whole[1:]
    listed = [item.fields["text"] for item in items([tmp_path / "b.jsonl", tmp_path / "a.csv"], "{text}")]
    assert listed == ["2", "3", "1"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "in[1].jsonl").write_text('{"text": "x"}\n')
    assert [item.fields["text"] for item in items(str(tmp_path / "in[1].jsonl"), "{text}")] == ["x"]


def test_a_json_list_is_read_piece_by_piece(tmp_path: Path) -> None:
    rows = [{"text": "x" * (n * 997 % 200_000), "n": [n, {"a": "]},{"}]} for n in range(60)]
    for text in (json.dumps(rows), json.dumps(rows, indent=2), "\ufeff \n" + json.dumps(rows) + "\n\n"):
        (tmp_path / "in.json").write_text(text)
        assert [record.fields for record in records(tmp_path / "in.json")] == rows
    (tmp_path / "in.json").write_text("[]")
    assert list(records(tmp_path / "in.json")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"text": "x"}', "after item 1: the list has no end"),
        ('[{"text": "x"} {"text": "y"}]', "after item 1: a comma"),
        ('[{"text": "x"}, {"text": ]', "item 2: broken JSON"),
        ('[{"text": "x"}] {"text": "y"}', "something follows the list's end"),
        ('[{"text": "x"}, 5]', "item 2: must be a JSON object"),
        ('[{"text": "' + "x" * (3 << 20) + '"}]', r"item 1: broken JSON, or longer than 1048576"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=["no end", "no comma", "broken", "more", "no object", "too long", "deep"],
)
def test_a_json_list_that_is_broken_is_named_by_its_item(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(InputError, match=said):
        list(records(tmp_path / "in.json"))


def test_ids_are_unique_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "MAX_HELD", 100)
    rows = [{"id": str(n), "text": "x"} for n in range(20_000)]
    assert len(items(rows, "{text}")) == 20_000
    with pytest.raises(InputError, match=r"2 of its lines cannot be used:\n.*line 20001: .*on line 12346 already"):
        items([*rows, rows[12_345], {"id": "y", "text": "x"}, rows[19_999]], "{text}")
    twice = [*rows, rows[12_345], {"id": "y", "text": "x"}, rows[19_999]]
    for policy, more in (("skip", ["y"]), ("error", ["line-20001", "y", "line-20003"])):
        complaints = Complaints("it", policy)  # pyright: ignore[reportArgumentType]
        template, choice = Template(model="rehearsal/x", prompt="{text}"), ColumnChoice.of(["text"])
        found = read_items(records(twice, complaints=complaints), template, complaints=complaints, choice=choice)
        assert [item.custom_id for item in found if isinstance(item, Item)][20_000:] == more
        assert complaints.bad == 2


def test_ids_are_told_apart_by_more_than_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "MAX_HELD", 0)
    monkeypatch.setattr(seen_ids, "FILTER_BYTES", 1)  # soon full: everything is looked up
    seen = seen_ids.SeenIds(at_once=True)
    assert not any(seen.add(f"id {n}", n) for n in range(1, 5000))
    assert [seen.add(f"id {n}", 9999) for n in (1, 2500, 4999)] == [1, 2500, 4999]
    assert seen.count == 4999


def test_rows_that_cannot_be_used_are_skipped_or_become_errors_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("sku,text\nA,fine\nB\nC,good\n")
    (tmp_path / "in.json").write_text('[{"sku": "A", "text": "fine"}, 5, {"sku": "C", "text": "good"}]')
    big = pa.table({"sku": ["A", "B", "C"], "text": ["fine", "x" * (2 << 20), "good"]})
    pq.write_table(big, tmp_path / "in.parquet")
    columns = {"sku": ["A", None, "C"], "text": ["fine", "x", "good"]}
    for source in (tmp_path / "in.csv", tmp_path / "in.json", tmp_path / "in.parquet", big, columns):
        template = Template(model="rehearsal/x", prompt="{text}")
        choice = ColumnChoice.of(["text"], "sku", ["sku"])
        for policy, right in (("skip", ["A", "C"]), ("error", ["A", "line-", "C"])):
            complaints = Complaints("it", policy)  # pyright: ignore[reportArgumentType]
            found = records(source, complaints=complaints, choice=choice)
            got = list(read_items(found, template, complaints=complaints, choice=choice))
            assert [item.custom_id[:5] for item in got] == right
            assert complaints.bad == 1
            assert [bool(item.refused) for item in got] == [name == "line-" for name in right]
        with pytest.raises(InputError):
            list(read_items(records(source, choice=choice), template, choice=choice))


def test_links_within_a_folder_are_read_and_others_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a"}\n')
    (folder / "b.jsonl").symlink_to("a.jsonl")
    assert len(items(folder, "{text}")) == 2
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}\n')
    (folder / "c.jsonl").symlink_to(tmp_path / "secret.jsonl")
    for source in (folder, str(folder / "*.jsonl")):
        with pytest.raises(InputError, match=r"c\.jsonl: is a link that leads out of the folder, to .*give --follow"):
            items(source, "{text}")
        assert len(list(records(source, follow=True))) == 3
    assert len(items([folder / "a.jsonl", folder / "c.jsonl"], "{text}")) == 2, "who names a link means it"
    (folder / "c.jsonl").unlink()
    os.mkfifo(folder / "d.jsonl")
    with pytest.raises(InputError, match=r"d\.jsonl: is a pipe or a device"):
        items(folder, "{text}")


def test_texts_and_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "a.md").write_text("text")
    with pytest.raises(InputError, match="has texts, which are an item each, and tables"):
        items(tmp_path, "{text}")
    assert list(TYPES)


def test_the_index_of_a_data_frame_is_a_column_where_it_has_a_name() -> None:
    frame = pandas.DataFrame({"text": ["x"]}, index=["k"])
    assert [record.fields for record in records(frame)] == [{"text": "x"}]
    frame.index.name = "key"
    assert [record.fields for record in records(frame)] == [{"text": "x", "key": "k"}]


def test_a_single_column_is_asked_for_its_name() -> None:
    for column in (pandas.Series(["x"]), polars.Series(["x"]), pa.chunked_array([["x"]])):
        with pytest.raises(InputError, match=r"is a single column; give it a name: {'text': it}"):
            records(column)
        assert [record.fields for record in records({"text": column})] == [{"text": "x"}]
