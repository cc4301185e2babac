"""The rows of a batch, one by one as they finish, or all together as a table of a data library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from headrace.batches.outputs.output_lines import simple_row
from headrace.batches.outputs.result_columns import ResultColumns
from headrace.batches.outputs.results import Row
from headrace.errors import InputError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from headrace.batches.outputs.arrow_results import ResultTable

T = TypeVar("T")


class AsyncResults(AsyncIterator[Row[T]], Generic[T]):
    """The rows of a batch in input order (`async for`), each as soon as all before it are there; or all of them as a table, once
    the batch has ended."""

    def __init__(
        self,
        rows: AsyncGenerator[Row[T]],
        table: Callable[[], Awaitable[pyarrow.Table]],
        batches: Callable[[], AsyncGenerator[pyarrow.RecordBatch]],
    ):
        self._rows = rows
        self._table = table
        self._batches = batches

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row[T]:
        return await anext(self._rows)

    async def aclose(self) -> None:
        """Stop reading."""
        await self._rows.aclose()

    async def to_arrow(self) -> pyarrow.Table:
        """Wait for the end and return all rows as a table: `custom_id`, the columns that were kept of the input with their
        types, the fields of the answers as the schema types them, and of what failed `error.code` and `error.message`. Needs
        the extra `data`. Raises `InputError`."""
        return await self._table()

    def to_batches(self) -> AsyncGenerator[pyarrow.RecordBatch]:
        """Wait for the end and yield what `to_arrow` returns as record batches of some thousand rows (`async for`), with memory
        that does not depend on the batch's size."""
        return self._batches()

    async def to_pandas(self) -> pandas.DataFrame:
        """Return what `to_arrow` does as a pandas DataFrame; its columns have Arrow's types."""
        return as_pandas(await self._table())

    async def to_polars(self) -> polars.DataFrame:
        """Return what `to_arrow` does as a Polars DataFrame."""
        return as_polars(await self._table())


class Results(Iterator[Row[T]], Generic[T]):
    """The rows of a batch in input order (`for`), each as soon as all before it are there; or all of them as a table, once the
    batch has ended."""

    def __init__(
        self,
        rows: Iterator[Row[T]],
        table: Callable[[], pyarrow.Table],
        batches: Callable[[], pyarrow.RecordBatchReader],
    ):
        self._rows = rows
        self._table = table
        self._batches = batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row[T]:
        return next(self._rows)

    def close(self) -> None:
        """Stop reading."""
        if (close := getattr(self._rows, "close", None)) is not None:
            close()

    def to_arrow(self) -> pyarrow.Table:
        """Wait for the end and return all rows as a table: `custom_id`, the columns that were kept of the input with their
        types, the fields of the answers as the schema types them, and of what failed `error.code` and `error.message`. Needs
        the extra `data`. Raises `InputError`."""
        return self._table()

    def to_batches(self) -> pyarrow.RecordBatchReader:
        """Wait for the end and return what `to_arrow` does as a stream of record batches, which DuckDB, Polars and Parquet's
        writer take as it is, with memory that does not depend on the batch's size."""
        return self._batches()

    def to_pandas(self) -> pandas.DataFrame:
        """Return what `to_arrow` does as a pandas DataFrame; its columns have Arrow's types."""
        return as_pandas(self._table())

    def to_polars(self) -> polars.DataFrame:
        """Return what `to_arrow` does as a Polars DataFrame."""
        return as_polars(self._table())


async def gathered_table(
    pages: AsyncGenerator[list[bytes]], columns: ResultColumns, *, structured: bool
) -> pyarrow.Table:
    """Return the output lines of `pages` as a table."""
    from headrace.batches.outputs.arrow_results import GrowingTable

    table = GrowingTable(columns, structured=structured)
    async with aclosing(pages):
        async for page in pages:
            table.add(page)
            await asyncio.sleep(0)
    return await asyncio.to_thread(table.whole)


async def surveyed_table(
    pages: AsyncGenerator[list[bytes]], columns: ResultColumns, *, structured: bool
) -> ResultTable:
    """Read the output lines of `pages` for the columns that a table of them has, and return it without its rows."""
    from headrace.batches.outputs.arrow_results import ResultTable, RowSurvey

    survey = RowSurvey(columns)
    async with aclosing(pages):
        async for page in pages:
            survey.over(simple_row(line, structured=structured) for line in page)
            await asyncio.sleep(0)
    return ResultTable(columns, survey, errors=True)


async def record_batches(
    pages: AsyncGenerator[list[bytes]], table: ResultTable, *, structured: bool
) -> AsyncGenerator[pyarrow.RecordBatch]:
    """Yield the output lines of `pages` as record batches of a table."""
    from headrace.batches.outputs.arrow_results import PAGE_ROWS

    lines = list[bytes]()
    async with aclosing(pages):
        async for page in pages:
            lines += page
            if len(lines) >= PAGE_ROWS:
                yield table.batch([simple_row(line, structured=structured) for line in lines])
                lines.clear()
                await asyncio.sleep(0)
    if lines:
        yield table.batch([simple_row(line, structured=structured) for line in lines])


def as_pandas(table: pyarrow.Table) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise InputError(f"to_pandas(): this needs pandas ({error}): pip install pandas") from None
    return table.to_pandas(types_mapper=pandas.ArrowDtype)


def as_polars(table: pyarrow.Table) -> polars.DataFrame:
    try:
        import polars
    except ImportError as error:
        raise InputError(f"to_polars(): this needs polars ({error}): pip install polars") from None
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)
    return frame
