"""JSON values as Arrow arrays of a type that is known: dates, decimals and nested values exactly as they were written."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import re
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.batches.arrow_library import arrow
from headrace.batches.inputs.arrow_rows import is_binary, is_text
from headrace.errors import InputError
from headrace.text.quoting import shortened

if TYPE_CHECKING:
    import pyarrow as pa

UNITS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
FRACTION = re.compile(r"\.(\d+)")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UNFIT = (ValueError, TypeError, ArithmeticError, AttributeError, KeyError)
"""Errors of making an Arrow value of one that is not of its type; Arrow's own are among them."""
_encode = msgspec.json.Encoder().encode


def arrow_array(values: list[Any], kind: pa.DataType, place: Callable[[int], str]) -> pa.Array:
    """Return decoded JSON (numbers that have a point as `Raw`) as an array of type `kind`. Raises `InputError` naming the
    `place` of the first value that is none of that type."""
    pa = arrow("a table of results")
    try:
        return built(values, kind)
    except UNFIT:
        for at, value in enumerate(values):
            try:
                pa.array([native(value, kind)], kind)
            except UNFIT as error:
                raise InputError(
                    f"{place(at)}: is no value of the column's type, {kind}: {shortened(str(error))}. JSON lines and CSV take "
                    "it: name a file that ends in .jsonl or .csv"
                ) from None
        return pa.array([native(value, kind) for value in values], kind)


def built(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return values as an array, the parts of nested ones together. Raises one of `UNFIT`."""
    pa = arrow("a table of results")
    types = pa.types
    if is_text(kind):
        return pa.array(
            [value if value is None or isinstance(value, str) else json_text(value) for value in values], kind
        )
    if types.is_boolean(kind) or types.is_integer(kind):
        return pa.array(values, kind)
    if types.is_float64(kind):
        return pa.array([value if value is None else float(number_text(value)) for value in values], kind)
    if types.is_date32(kind):
        return pa.array(values, pa.string()).cast(kind)
    if types.is_struct(kind) and kind.num_fields:
        fields = [kind.field(at) for at in range(kind.num_fields)]
        parts = [built([value and value.get(field.name) for value in values], field.type) for field in fields]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=pa.array([value is None for value in values]))
    if types.is_list(kind) or types.is_large_list(kind):
        ends = list(accumulate((len(value) if value else 0 for value in values), initial=0))
        offsets = pa.array(ends, pa.int64() if types.is_large_list(kind) else pa.int32())
        items = built([item for value in values if value for item in value], kind.value_type)
        make = pa.LargeListArray if types.is_large_list(kind) else pa.ListArray
        return make.from_arrays(offsets, items, type=kind, mask=pa.array([value is None for value in values]))
    return pa.array([native(value, kind) for value in values], kind)


def json_text(value: Any) -> str:
    return _encode(value).decode()


def number_text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)


def native(value: Any, kind: pa.DataType) -> Any:
    """Return a JSON value as what Arrow makes a value of type `kind` of."""
    types = arrow("a table of results").types
    if value is None:
        return None
    if is_text(kind):
        return value if isinstance(value, str) else json_text(value)
    if types.is_boolean(kind) or types.is_null(kind):
        return value
    if types.is_integer(kind):
        return int(number_text(value)) if isinstance(value, msgspec.Raw) else value
    if types.is_floating(kind):
        return float(number_text(value))
    if types.is_decimal(kind):
        return decimal.Decimal(number_text(value))
    if types.is_date(kind):
        return dt.date.fromisoformat(value)
    if types.is_timestamp(kind):
        return instant(value, kind.unit)
    if types.is_time(kind):
        return time_of_day(value, kind.unit)
    if types.is_duration(kind):
        return value
    if is_binary(kind):
        return base64.b64decode(value, validate=True)
    if types.is_struct(kind):
        return {
            kind.field(at).name: native(value.get(kind.field(at).name), kind.field(at).type)
            for at in range(kind.num_fields)
        }
    if types.is_map(kind):
        pairs = value.items() if isinstance(value, dict) else ((pair["key"], pair["value"]) for pair in value)
        return [(native(key, kind.key_type), native(item, kind.item_type)) for key, item in pairs]
    return [native(item, kind.value_type) for item in value]


def instant(text: str, unit: str) -> int:
    """Return a date and time in units since 1970; one without an offset is in UTC, or in the time of its column."""
    moment = dt.datetime.fromisoformat(FRACTION.sub("", text, count=1))
    since = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * UNITS[unit] + fraction(text, unit)


def time_of_day(text: str, unit: str) -> int:
    time = dt.time.fromisoformat(FRACTION.sub("", text, count=1))
    return ((time.hour * 60 + time.minute) * 60 + time.second) * UNITS[unit] + fraction(text, unit)


def fraction(text: str, unit: str) -> int:
    """Return the fraction of a second in a time, in units; digits that the unit has not are dropped."""
    digits = FRACTION.search(text)
    return int(digits[1].ljust(9, "0")[:9]) * UNITS[unit] // UNITS["ns"] if digits else 0
