"""What is no list of items is refused by its name: nothing is paid for the names of a table's columns or a dict's keys."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from headrace.batches.inputs.sources import records
from headrace.client.async_client import AsyncHeadrace
from headrace.errors import InputError


class DataFrame:
    """As in pandas: it gives the names of its columns."""

    columns = ("text", "stars")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class Series:
    dtype = "object"

    def __iter__(self) -> Iterator[str]:
        return iter(["a text"])


class Table:
    column_names = ("text",)

    def __iter__(self) -> Iterator[str]:
        return iter(["text"])


class Stream:
    """As a table whose export fails."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> None:
        raise ValueError("columns of mixed types")

    def __iter__(self) -> Iterator[str]:
        return iter(["text"])


class Row(BaseModel):
    text: str


@dataclasses.dataclass
class Point:
    x: int


async def later() -> AsyncIterator[str]:
    yield "a text"


REFUSED: list[tuple[Any, str]] = [
    (DataFrame(), r"DataFrame: tables and arrays are not taken.*to_dict\(.records.\)"),
    (Series(), "Series: tables"),
    (Table(), "Table: tables"),
    ({"text": "x"}, r"not dict, which gives its keys; give \[it\]"),
    (b"bytes", "not bytes"),
    (bytearray(b"bytes"), "not bytearray"),
    ({"one", "two"}, "not set, which has no order"),
    (frozenset(["one"]), "not frozenset, which has no order"),
    (io.StringIO('{"text": "x"}\n'), "an open file; give its path"),
    (io.BytesIO(b"x"), "an open file"),
    (5, "not int"),
    (None, "not NoneType"),
    (Row, "not ModelMetaclass"),
    (SimpleNamespace(text="x"), "not SimpleNamespace"),
]


@pytest.mark.parametrize(("source", "said"), REFUSED, ids=[type(source).__name__ for source, _ in REFUSED])
async def test_refuses_sources_that_are_no_lists_by_name(source: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        records(source)
    client = AsyncHeadrace("redis://127.0.0.1:9/0")
    with pytest.raises(InputError, match=said):
        await client.extract(source, model="rehearsal/small")
    with pytest.raises(InputError, match=said):
        await client.submit_many("rehearsal/small", source)
    await client.close()


async def test_refuses_asynchronous_generators() -> None:
    with pytest.raises(InputError, match="not async_generator; gather it first"):
        records(later())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "item",
    [5, b"x", ["a"], ("a", "b"), None, Row, Point],
    ids=["int", "bytes", "list", "tuple", "None", "model", "class"],
)
def test_an_item_that_is_none_is_named(item: Any) -> None:
    with pytest.raises(InputError, match="item 2: must be a dict or a text, not"):
        list(records(["fine", item]))


def test_lists_generators_and_the_like_are_taken() -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    table = csv.DictReader(io.StringIO("text\na\nb\n"))
    for source in (rows, tuple(rows), iter(rows), (row for row in rows), deque(rows), dict(enumerate(rows)).values()):
        assert [record.fields for record in records(source)] == rows
    assert [record.fields for record in records(table)] == rows
    assert [record.fields for record in records({"a": 1, "b": 2}.keys())] == rows


@pytest.mark.parametrize(
    ("path", "said"), [("", "the path is empty"), ("x" * 5000, "give one text as"), ("a\0b", "no path")]
)
def test_a_text_is_a_path_and_never_the_current_folder_by_mistake(path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(records(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        list(records(str(tmp_path / "nowhere.jsonl")))


def test_a_table_that_cannot_be_exported_is_named() -> None:
    with pytest.raises(InputError, match=r"unit\.Stream.*: cannot be read as an Arrow table: columns of mixed types"):
        records(Stream())
