"""What a batch can be made from, and how each kind of broken input is named: file and line, or row and column."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.inputs.sources import records, sampled
from headrace.errors import InputError


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [record.fields for record in records(path, **options)]


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_tables_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    text = f"id{delimiter}text\n1{delimiter}one, two; three\n".replace("one, two; three", '"one, two; three"')
    assert rows(written(tmp_path, "in.csv", text)) == [{"id": "1", "text": "one, two; three"}]


def test_a_tsv_is_split_at_tabs_alone(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "in.tsv", "text,more\tid\na,b\t1\n")) == [{"text,more": "a,b", "id": "1"}]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("id,text\n1,one\n2\n", "line 3: 1 columns instead of 2: column 2 ('text') is missing"),
        ("id,text\n1,one,more\n", "line 2: 3 columns instead of 2: column 3 has no name"),
        ("id,text,id\n1,one,2\n", "line 1: the header names 'id' twice, in columns 1 and 3"),
        ("id,,text\n1,2,3\n", "line 1, column 2: the header has no name there"),
        ('id,text\n1,"one\n', "broken CSV"),
        (b"id,text\n1,caf\xe9\n", "--encoding latin-1"),
    ],
)
def test_a_broken_table_names_row_and_column(tmp_path: Path, data: str | bytes, said: str) -> None:
    path = written(tmp_path, "in.csv", data)
    with pytest.raises(InputError) as raised:
        rows(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('id,text\n1,"one\ntwo"\n3\n', "line 4: 1 columns"),
        ('id,text\n1,"one\ntwo",3\n', "line 2: 3 columns"),
    ],
)
def test_a_row_is_named_by_the_line_where_it_begins(tmp_path: Path, data: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows(written(tmp_path, "in.csv", data))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_an_encoding_that_is_stated_is_used(tmp_path: Path, encoding: str) -> None:
    assert rows(written(tmp_path, "in.csv", "text\ncafé\n".encode(encoding)), encoding=encoding) == [{"text": "café"}]
    assert rows(written(tmp_path, "in.txt", b""), encoding=encoding) == []


def test_a_byte_order_mark_is_no_part_of_a_tables_first_name(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "in.csv", b"\xef\xbb\xbftext\nx\n")) == [{"text": "x"}]


def test_an_encoding_that_python_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'klingon'"):
        rows(written(tmp_path, "in.csv", "text\nx\n"), encoding="klingon")


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=3)))
def test_csv_round_trips(tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]) -> None:
    table = [row[:3] for row in table]
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b", "c"], *table])
    path = written(tmp_path_factory.mktemp("csv"), "in.csv", text.getvalue())
    assert [list(row.values()) for row in rows(path)] == table


def test_a_folder_gives_its_texts_by_name_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.md", "a/c.txt", ".hidden.txt", ".git/x.md", "picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    assert [(row["custom_id"], row["text"], row["name"]) for row in rows(tmp_path)] == [
        ("a/c.txt", "text of a/c.txt", "c"),
        ("b.md", "text of b.md", "b"),
    ]


def test_a_folder_without_texts_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text or Markdown file"):
        rows(tmp_path)


@dataclasses.dataclass
class Point:
    x: int


class Named(msgspec.Struct):
    name: str


def test_python_objects_become_their_fields() -> None:
    given = ["a text", {"id": 7}, Point(1), Named("n")]
    assert [record.fields for record in records(given)] == [{"text": "a text"}, {"id": 7}, {"x": 1}, {"name": "n"}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([5], "item 1: must be a dict or a text, not int"),
        (["fine", {"f": object()}], "item 2: cannot be written as JSON"),
        ({"one": "dict"}, "must be a list"),
        (5, "must be a list"),
    ],
)
def test_an_object_that_is_no_item_is_named(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(records(given))


def test_a_sample_is_the_same_every_time_and_keeps_the_order() -> None:
    def numbers(**options: int) -> list[int]:
        return [record.number for record in sampled(records([str(n) for n in range(100)]), **options)]

    assert numbers(limit=3) == [1, 2, 3]
    assert numbers(sample=10) == sorted(numbers(sample=10))
    assert numbers(sample=10) == numbers(sample=10)
    assert len({*numbers(sample=10)}) == 10
    assert max(numbers(limit=20, sample=10)) <= 20
    assert numbers(sample=1000) == list(range(1, 101))
    with pytest.raises(InputError, match="limit=0"):
        numbers(limit=0)


@given(st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text())))
def test_json_lines_are_read_back(tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]) -> None:
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path = written(tmp_path_factory.mktemp("jsonl"), "in.jsonl", data.encode("utf-8", "surrogatepass"))
    assert rows(path) == lines


def test_a_limit_of_any_size_is_one(tmp_path: Path) -> None:
    assert (
        len(list(sampled(records(written(tmp_path, "in.jsonl", '{"text": "x"}\n')), limit=10**30, sample=10**30))) == 1
    )
