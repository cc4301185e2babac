"""Tables of libraries that do not speak the Arrow C stream protocol are read all the same, with their types."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from headrace.batches.inputs.column_choice import ColumnChoice, KeptColumns
from headrace.batches.inputs.sources import kept_columns, once, records
from headrace.errors import InputError

datasets: Any = pytest.importorskip("datasets")
polars: Any = pytest.importorskip("polars")

TABLE = pa.table(
    {
        "text": [f"row {n}" for n in range(2500)],
        "day": [dt.date(2024, 5, 1) if n % 2 else None for n in range(2500)],
        "tags": [["a"] * (n % 3) for n in range(2500)],
    }
)


class Interchanged:
    """A frame of a library that speaks the interchange protocol alone."""

    def __init__(self, table: pa.Table):
        self._table = table

    def __dataframe__(self, *arguments: Any, **options: Any) -> Any:
        return self._table.__dataframe__(*arguments, **options)


def saved(folder: Path) -> Path:
    pq.write_table(TABLE, folder / "t.parquet", row_group_size=700)
    return folder / "t.parquet"


FORMS: dict[str, Callable[[Path], Any]] = {
    "hugging face": lambda _: datasets.Dataset(TABLE),
    "hugging face, as it comes": lambda _: datasets.Dataset(TABLE).to_iterable_dataset(),
    "hugging face, in an order of its own": lambda _: datasets.Dataset(TABLE).select(range(2500)),
    "pyarrow's data set": lambda folder: pyarrow.dataset.dataset(saved(folder)),
    "a scanner": lambda folder: pyarrow.dataset.dataset(saved(folder)).scanner(),
    "a lazy frame": lambda _: polars.from_arrow(TABLE).lazy(),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_has_the_rows_of_a_table(tmp_path: Path, form: str) -> None:
    choice = ColumnChoice.of(["text"], None, "all")
    source = once(FORMS[form](tmp_path))
    kept = kept_columns(source, choice)
    found = [record.fields for record in records(source, choice=choice)]
    assert found == [record.fields for record in records(TABLE, choice=choice)]  # pyright: ignore[reportArgumentType]
    assert isinstance(kept, KeptColumns)
    types = pa.ipc.read_schema(pa.py_buffer(kept.types))
    assert types.field("day").type == pa.date32()
    assert pa.types.is_list(types.field("tags").type) or pa.types.is_large_list(types.field("tags").type)


def test_rows_whose_types_nobody_knows_are_read_as_dicts() -> None:
    source = datasets.Dataset(TABLE).to_iterable_dataset().map(lambda row: row)
    assert [record.fields for record in records(once(source))] == [record.fields for record in records(TABLE)]  # pyright: ignore[reportArgumentType]


def test_the_interchange_protocol_is_spoken() -> None:
    table = TABLE.select(["text"])
    assert [record.fields for record in records(Interchanged(table))] == [  # pyright: ignore[reportArgumentType]
        {"text": f"row {n}"} for n in range(2500)
    ]


def test_what_cannot_be_read_is_told() -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        raise ConnectionError("the hub is away")

    with pytest.raises(InputError, match=r"datasets\.IterableDataset\): cannot be read: .*the hub is away"):
        list(records(once(datasets.IterableDataset.from_generator(broken))))
    assert list(records(datasets.Dataset(TABLE.slice(0, 0)))) == []
    with pytest.raises(InputError, match=r"names of its splits; give one of these: it\['train'\]"):
        records(datasets.DatasetDict({"train": datasets.Dataset(TABLE)}))
    with pytest.raises(InputError, match=r"polars\.LazyFrame\): cannot be read: .*nothing"):
        records(polars.from_arrow(TABLE).lazy().select("nothing"))
