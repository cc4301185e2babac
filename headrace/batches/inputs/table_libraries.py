"""Tables of libraries that hand out Arrow's data in ways of their own: data sets of Hugging Face and PyArrow, lazy frames of
Polars, and what speaks the older DataFrame interchange protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headrace.batches.arrow_library import arrow
from headrace.batches.inputs.arrow_rows import ArrowTable, arrow_stream
from headrace.errors import InputError
from headrace.text.quoting import shortened

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1_000
"""Rows that a data set of Hugging Face is asked for at a time."""


def library_table(source: Any, library: str) -> ArrowTable | Iterator[Any]:
    """Return the table that an object is, of the `library` that `sources.table_library` names; of one whose types nobody knows
    its rows, as dicts. Raises `InputError`."""
    sort = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    arrow(f"the input: is a table ({sort})")
    try:
        if library == "datasets":
            return hugging_face_rows(source, sort) if source.features is None else hugging_face_table(source, sort)
        if library == "polars":
            return arrow_stream(source.collect())
        if library == "pyarrow":
            return arrow_stream((source if hasattr(source, "to_reader") else source.scanner()).to_reader())
        from pyarrow.interchange import from_dataframe

        return arrow_stream(from_dataframe(source))
    except InputError:
        raise
    except Exception as error:  # somebody else's export may do anything
        raise unreadable(sort, error) from None


def hugging_face_table(source: Any, sort: str) -> ArrowTable:
    """Return a `Dataset` of Hugging Face, or one that is read as it comes (`streaming=True`)."""
    pa = arrow("the input")
    schema = source.features.arrow_schema

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([schema.field(name) for name in names])
        try:
            for table in source.with_format("arrow").iter(batch_size=BATCH_ROWS):
                yield from table.select(names).cast(wanted).to_batches()
        except Exception as error:  # it may come over a network, through functions of the caller's
            raise unreadable(sort, error) from None

    return ArrowTable("the input", schema.remove_metadata(), batches)


def hugging_face_rows(source: Any, sort: str) -> Iterator[Any]:
    """Yield the rows of a data set that goes through a function, of which nobody knows what it returns."""
    try:
        yield from source
    except Exception as error:
        raise unreadable(sort, error) from None


def unreadable(sort: str, error: Exception) -> InputError:
    return InputError(f"the input ({sort}): cannot be read: {type(error).__name__}: {shortened(str(error))}")
