"""Python objects as the items of a batch: a list of dicts or texts, or a dict of columns."""

from __future__ import annotations

import dataclasses
import io
import re
from array import array
from collections.abc import AsyncIterable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, Set
from typing import Any

import msgspec

from headrace.batches.inputs.complaints import Complaints, InputRecord
from headrace.errors import InputError
from headrace.text.quoting import quoted, shortened

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
TABULAR = (
    *("collect_schema", "columns", "column_names", "dtype", "dtypes"),
    *("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__", "__array__", "__array_interface__"),
)
"""Attributes that tables, columns and arrays of any library have, and no list of items."""


def checked_items(source: Any, name: str, kind: str) -> Iterable[Any]:
    """Return `source` if it gives its items one by one in an order of its own: a list, a tuple, a generator. Raises
    `InputError` naming the type of what is iterable and yet no list of `kind`: a table gives the names of its columns,
    a dict its keys."""
    sort = type(source).__name__
    not_one = f"{name} must be a list (or a generator) of {kind}, not "
    if isinstance(source, str | bytes | bytearray | memoryview):
        raise InputError(f"{not_one}{sort}; give one as [it]")
    if isinstance(source, Mapping):
        if type(source).__module__.partition(".")[0] == "datasets":  # of Hugging Face
            raise InputError(
                f"{not_one}{sort}, which gives the names of its splits; give one of these: it[{first_key(source)}]"
            )
        raise InputError(f"{not_one}{sort}, which gives its keys; give [it], or list(it.values())")
    if any(has(source, mark) for mark in TABULAR):
        raise InputError(
            f"{not_one}{type(source).__module__.partition('.')[0]}.{sort}: tables and arrays are not taken, but for a table "
            "that speaks the Arrow C stream protocol (pandas 2.2, Polars, PyArrow, DuckDB) or the DataFrame interchange "
            "protocol, and data sets of Hugging Face, by `extract`. Give their rows: "
            'df.to_dict("records") in pandas, .to_dicts() in polars, .to_pylist() in Arrow, .tolist() for a column'
        )
    if isinstance(source, io.IOBase) or has(source, "readline"):
        raise InputError(f"{not_one}{sort}, an open file; give its path")
    if isinstance(source, array):
        raise InputError(f"{not_one}{sort}, which gives numbers or letters; give a list of {kind}")
    if isinstance(source, tuple) and has(source, "_fields"):
        raise InputError(f"{not_one}{sort}, which is one record and gives its fields; give [it._asdict()]")
    if has(source, "fetchone"):
        raise InputError(f"{not_one}{sort}, a database's cursor; give its rows as dicts, gathered first")
    if isinstance(source, Set) and not isinstance(source, KeysView | ItemsView):
        raise InputError(f"{not_one}{sort}, which has no order; give a list, or sorted(it)")
    if not isinstance(source, Iterable) or isinstance(source, type):
        raise InputError(f"{not_one}{sort}" + ("; gather it first" if isinstance(source, AsyncIterable) else ""))
    return source


def first_key(source: Mapping[Any, Any]) -> str:
    return repr(next(iter(source), "train"))


def has(source: Any, mark: str) -> bool:
    try:
        return hasattr(source, mark)
    except Exception:  # an object of somebody else's, which may do anything when it is looked at
        return False


def objects(source: Iterable[Any], complaints: Complaints, media: Sequence[str] = ()) -> Iterator[InputRecord]:
    """Yield Python objects as records: a text becomes `{"text": …}`, anything else its fields as JSON, but for those that are
    `media`."""
    for number, given in enumerate(source, 1):
        where = f"item {number}"
        try:
            record = InputRecord(number, where, with_media_as_it_is(given, where, media))
        except InputError as error:
            yield from complaints.bad_row(number, where, str(error))
        else:
            yield record


def with_media_as_it_is(given: Any, where: str, media: Sequence[str]) -> dict[str, Any]:
    """Return the fields of an object as JSON, and those that are media as they are: bytes, paths, images."""
    if not media or isinstance(given, str):
        return fields_of(given, where)
    if isinstance(given, Mapping):
        found = {name: given[name] for name in media if name in given}
        return fields_of({name: value for name, value in given.items() if name not in found}, where) | found
    return fields_of(given, where) | {name: getattr(given, name) for name in media if has(given, name)}


def fields_of(given: Any, where: str) -> dict[str, Any]:
    if isinstance(given, str):
        given = {"text": given}
    elif hasattr(given, "model_dump") and not isinstance(given, type):
        given = given.model_dump(mode="json")
    elif isinstance(given, type) or (
        not isinstance(given, Mapping | msgspec.Struct) and not dataclasses.is_dataclass(given)
    ):
        raise InputError(f"{where}: must be a dict or a text, not {type(given).__name__}")
    try:
        try:
            return msgspec.json.decode(msgspec.json.encode(given))
        except UnicodeEncodeError:  # half of a surrogate pair, as a text has that was cut in the middle of a sign
            return msgspec.json.decode(msgspec.json.encode(replace_lone_surrogates(msgspec.to_builtins(given))))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be written as JSON: {shortened(str(error))}") from None


def replace_lone_surrogates(value: Any) -> Any:
    """Return `value` with U+FFFD in place of every lone surrogate in its texts."""
    if isinstance(value, str):
        return LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {replace_lone_surrogates(key): replace_lone_surrogates(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [replace_lone_surrogates(inner) for inner in value]
    return value


def is_columns(source: Any) -> bool:
    """Return True for a dict of columns: names with values that have an order and a length, of any library."""
    return (
        isinstance(source, Mapping)
        and bool(source)
        and all(isinstance(name, str) for name in source)
        and all(is_column(values) for values in source.values())
    )


def is_column(values: Any) -> bool:
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping | Set):
        return False
    return isinstance(values, Sequence) or has(values, "__array__") or has(values, "__arrow_c_stream__")


def column_objects(
    source: Mapping[str, Any], complaints: Complaints, media: Sequence[str] = ()
) -> Iterator[InputRecord]:
    """Yield the rows of a dict of columns. Raises `InputError` for columns of different lengths."""
    columns = {name: listed(values) for name, values in source.items()}
    check_lengths(columns)
    for number, values in enumerate(zip(*columns.values(), strict=True), 1):
        where = f"row {number}"
        try:
            fields = dict(zip(columns, values, strict=True))
            record = InputRecord(number, where, with_media_as_it_is(fields, where, media))
        except InputError as error:
            yield from complaints.bad_row(number, where, str(error))
        else:
            yield record


def check_lengths(columns: Mapping[str, Sequence[Any]]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    name, first = next(iter(lengths.items()))
    for other, length in lengths.items():
        if length != first:
            raise InputError(
                f"the columns are not of one length: {quoted(name)} has {first} values, {quoted(other)} {length}"
            )


def listed(values: Any) -> Sequence[Any]:
    """Return a column as Python objects."""
    if isinstance(values, list | tuple | range):
        return values
    for method in ("tolist", "to_pylist", "to_list"):
        if has(values, method):
            return getattr(values, method)()
    return list(values)
