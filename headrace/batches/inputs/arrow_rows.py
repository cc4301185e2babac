"""Arrow tables as records: Parquet, Arrow and Feather files, and whatever speaks the Arrow C stream protocol. Values become what
JSON has: numbers with their digits, dates and times as ISO 8601, bytes as base64."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.batches.arrow_library import arrow, compute, parquet
from headrace.batches.inputs.column_choice import ColumnChoice, KeptColumns
from headrace.batches.inputs.complaints import Complaints, InputRecord
from headrace.batches.inputs.page_sizes import check_page_sizes
from headrace.batches.inputs.text_files import LINE_BYTES
from headrace.batches.media.cells import MAX_SOURCE_BYTES
from headrace.errors import InputError
from headrace.text import digits
from headrace.text.quoting import quoted, shortened

if TYPE_CHECKING:
    import pyarrow as pa

SLICE_BYTES = 512 * 1024
MAX_SLICE_ROWS = 4096
INDEX = re.compile(r"__index_level_\d+__")
"""The index of a pandas DataFrame, where it has no name."""
NON_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
_encode = msgspec.json.Encoder(decimal_format="number").encode


class ArrowTable:
    """A table that is read once: its schema, and its batches of rows, of the columns that are asked for."""

    def __init__(self, name: str, schema: pa.Schema, batches: Callable[[list[str]], Iterator[pa.RecordBatch]]):
        self.name = name
        self.schema = schema
        self._batches = batches
        check_names(name, schema.names)

    def records(self, choice: ColumnChoice | None, complaints: Complaints) -> Iterator[InputRecord]:
        """Yield the rows, numbered from 1 on. Raises `InputError` for a column of `choice` that is not there, and where the
        rest cannot be read."""
        names: list[str] = list(self.schema.names)
        if choice is not None:
            if not is_bodies(names, choice):
                choice.check(self.name, names)
                names = choice.of_table(names)
            for name in choice.prompt:
                if name in names and is_binary(self.schema.field(name).type):
                    raise InputError(f"{self.name}: column {quoted(name)} has bytes and no text; cast it to text")
        number, media = 0, frozenset(choice.media if choice is not None else ())
        with readable_table(self.name):
            for batch in self._batches(names):
                batch.validate(full=True)  # texts are UTF-8, and nothing leads out of its buffer
                for part in slices(batch):
                    yield from self._rows(names, part, number, complaints, media)
                    number += part.num_rows

    def _rows(
        self, names: list[str], batch: pa.RecordBatch, number: int, complaints: Complaints, media: Collection[str]
    ) -> Iterator[InputRecord]:
        if not names:
            columns: list[list[Any]] = []
            rows: Iterable[tuple[Any, ...]] = iter([()] * batch.num_rows)
        else:
            too_long = set[int]()
            columns = [
                media_values(batch.column(name), too_long)
                if name in media
                else json_values(bounded(batch.column(name), too_long), self.name, name)
                for name in names
            ]
            rows = zip(*columns, strict=True)
            if too_long:
                yield from self._bounded_rows(names, list(rows), too_long, number, complaints)
                return
        for place, values in enumerate(rows, number + 1):
            yield InputRecord(place, f"{self.name}, row {place}", dict(zip(names, values, strict=True)))

    def _bounded_rows(
        self, names: list[str], rows: list[tuple[Any, ...]], too_long: set[int], number: int, complaints: Complaints
    ) -> Iterator[InputRecord]:
        for at, values in enumerate(rows):
            place = number + at + 1
            where = f"{self.name}, row {place}"
            if at in too_long:
                message = f"{where}: a cell has more than {LINE_BYTES} bytes (1 MiB; media 64 MiB), the most that one may have"
                yield from complaints.bad_row(place, where, message)
            else:
                yield InputRecord(place, where, dict(zip(names, values, strict=True)))


def is_bodies(names: list[str], choice: ColumnChoice) -> bool:
    """Return True for a table in OpenAI's batch form, which brings its conversations."""
    return "body" in names and choice.prompt == ("text",) and "text" not in names


def arrow_file(path: Path, what: str) -> ArrowTable:
    """Return the table in a file of `parquet` or `arrow` (Feather, or a stream). Raises `InputError`."""
    pa = arrow(f"{path}: is a file of {what.capitalize()}")
    with readable_table(str(path), what.capitalize()):
        if what == "parquet":
            pq = parquet(str(path))
            with pq.ParquetFile(path) as file:
                check_page_sizes(path, file.metadata)
                return ArrowTable(str(path), file.schema_arrow, lambda names: parquet_batches(path, names))
        with pa.memory_map(str(path)) as source:
            schema = opened_ipc(source).schema
        return ArrowTable(str(path), schema, lambda names: ipc_batches(path, names))


def parquet_batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    pq = parquet(str(path))
    # Without `pre_buffer` and with a buffer pages are read one by one: a row group may be as large as the file.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=64 * 1024) as file:
        meta = file.metadata
        for group in range(meta.num_row_groups):
            sizes = meta.row_group(group)
            row_bytes = max(1, sizes.total_byte_size // max(1, sizes.num_rows))
            rows = min(MAX_SLICE_ROWS, max(16, SLICE_BYTES // row_bytes))
            yield from file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)


def opened_ipc(source: Any) -> Any:
    """Return the reader of an Arrow file, or of an Arrow stream."""
    pa = arrow("an Arrow file")
    if source.read(6) == b"ARROW1":
        return pa.ipc.open_file(source)
    source.seek(0)
    return pa.ipc.open_stream(source)


def ipc_batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    pa = arrow(str(path))
    with pa.memory_map(str(path)) as source:
        reader = opened_ipc(source)
        if hasattr(reader, "num_record_batches"):
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            yield batch.select(names)


def arrow_stream(source: Any, name: str = "the input") -> ArrowTable:
    """Return the table of an object that speaks the Arrow C stream protocol. Raises `InputError`."""
    sort = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    pa = arrow(f"{name}: is a table ({sort})")
    try:
        reader = pa.RecordBatchReader.from_stream(source)
    except Exception as error:  # somebody else's export may do anything
        if "non-struct" in str(error):
            raise InputError(f"{name} ({sort}): is a single column; give it a name: {{'text': it}}") from None
        raise InputError(
            f"{name} ({sort}): cannot be read as an Arrow table: {shortened(str(error))}. Give its columns one type each, or "
            "its rows as dicts"
        ) from None
    fields = [field for field in reader.schema if not INDEX.fullmatch(field.name)]
    if not fields:
        raise InputError(f"{name} ({sort}): has no columns")
    return ArrowTable(name, pa.schema(fields), lambda names: (batch.select(names) for batch in reader))


@contextmanager
def readable_table(name: str, what: str = "a table") -> Iterator[None]:
    """Tell what Arrow says about a file that it cannot read as the input's error."""
    pa = arrow(name)
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno and error.strerror:
            raise InputError(f"{name}: {error.strerror}") from None
        raise InputError(
            f"{name}: cannot be read as {what}: {shortened(str(error))} (is it damaged, or cut off? Copy or write it again)"
        ) from None


def check_names(name: str, columns: list[str]) -> None:
    """Raise `InputError` for columns of one name."""
    seen = set[str]()
    for column in columns:
        if column in seen:
            raise InputError(f"{name}: has two columns of the name {quoted(column)}; rename one")
        seen.add(column)


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces that are small as Python objects too."""
    rows = batch.num_rows
    if not rows:
        return
    step = min(MAX_SLICE_ROWS, max(1, SLICE_BYTES * rows // max(1, batch.nbytes)))
    for start in range(0, rows, step):
        yield batch.slice(start, step)


def bounded(column: pa.Array, too_long: set[int]) -> pa.Array:
    """Return a column with null in place of cells over the bound, whose places are added to `too_long`: they do not become
    Python objects."""
    pa = arrow("a table")
    pc = compute()

    if not (is_binary(column.type) or is_text(column.type)) or column.nbytes <= LINE_BYTES:
        return column
    with suppress(pa.ArrowNotImplementedError):  # views: they are no longer than their buffers
        long = pc.greater(pc.binary_length(column), LINE_BYTES)
        if pc.any(long).as_py():
            too_long.update(pc.indices_nonzero(long).to_pylist())
            return pc.if_else(long, pa.scalar(None, column.type), column)
    return column


def media_values(column: pa.Array, too_long: set[int]) -> list[Any]:
    """Return the values of a column of files as they are, with null in place of cells over the bound, whose places are added to
    `too_long`: they do not become Python objects."""
    if isinstance(column.type, arrow("a table").BaseExtensionType):
        column = column.storage
    if column.nbytes <= MAX_SOURCE_BYTES:
        return column.to_pylist()
    pieces = [column.slice(at, 1) for at in range(len(column))]
    too_long.update(at for at, piece in enumerate(pieces) if piece.nbytes > MAX_SOURCE_BYTES)
    return [None if at in too_long else piece[0].as_py() for at, piece in enumerate(pieces)]


def is_text(kind: pa.DataType) -> bool:
    types = arrow("a table").types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_binary(kind: pa.DataType) -> bool:
    types = arrow("a table").types
    return any(
        is_kind(kind)
        for is_kind in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    )


def json_values(column: pa.Array, table: str, name: str) -> list[Any]:
    """Return the values of a column as what JSON has; numbers that have a point keep their digits."""
    pa = arrow(table)
    pc = compute()

    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    elif types.is_run_end_encoded(kind):
        column = pc.run_end_decode(column)
        kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column, kind = column.storage, column.type.storage_type
    if is_text(kind) or types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind):
        return column.to_pylist()
    if types.is_float64(kind):
        values = column.to_pylist()
        return values if pc.all(pc.is_finite(column)).as_py() is not False else [finite(value) for value in values]
    if types.is_floating(kind):
        return [short_float(text) for text in column.cast(pa.float32()).cast(pa.string()).to_pylist()]
    if types.is_decimal(kind):
        return [None if value is None else msgspec.Raw(format(value, "f").encode()) for value in column.to_pylist()]
    if types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string()).to_pylist()
    if types.is_timestamp(kind):
        return timestamps(column)
    if types.is_time(kind):
        return [whole_second(text) for text in column.cast(pa.string()).to_pylist()]
    if types.is_duration(kind):
        return column.cast(pa.int64()).to_pylist()
    if is_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    if types.is_nested(kind) and not types.is_union(kind):
        if is_json(kind):
            return column.to_pylist()
        return [nested(value, kind) for value in column.to_pylist()]
    raise InputError(f"{table}: column {quoted(name)} is of the Arrow type {kind}, which is not read; cast it")


def is_json(kind: pa.DataType) -> bool:
    """Return True for lists and structs of nothing but what JSON has, digit for digit."""
    types = arrow("a table").types
    if types.is_struct(kind):
        return all(is_json(kind.field(at).type) for at in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return is_json(kind.value_type)
    return is_text(kind) or types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind)


def nested(value: Any, kind: pa.DataType) -> Any:
    """Return a value of a list, a struct or a map as JSON, whose numbers keep their digits."""
    return None if value is None else digits.decode(_encode(plain(value, kind)))


def plain(value: Any, kind: pa.DataType) -> Any:
    """Return `value` with objects in place of maps from texts, and nothing that JSON has not."""
    types = arrow("a table").types
    if value is None:
        return None
    if types.is_struct(kind):
        return {
            kind.field(at).name: plain(value[kind.field(at).name], kind.field(at).type) for at in range(kind.num_fields)
        }
    if types.is_map(kind):
        pairs = [(key, plain(item, kind.item_type)) for key, item in value]
        if is_text(kind.key_type):
            return dict(pairs)
        return [{"key": plain(key, kind.key_type), "value": item} for key, item in pairs]
    if types.is_nested(kind) and not types.is_union(kind):
        return [plain(item, kind.value_type) for item in value]
    pa = arrow("a table")
    return json_values(pa.array([value], kind), "the input", "")[0]


def finite(value: float | None) -> Any:
    return value if value is None or math.isfinite(value) else NON_FINITE.get(value, "NaN")


def short_float(text: str | None) -> Any:
    """Return a number of single precision with the digits that tell it from its neighbours."""
    if text is None or not text.lstrip("-")[:1].isdigit():
        return None if text is None else finite(float(text))
    return msgspec.Raw((text if "." in text or "e" in text else f"{text}.0").encode())


def timestamps(column: pa.Array) -> list[str | None]:
    """Return timestamps as ISO 8601 with six digits of a second, or nine; none where all are zero. A time zone's are in UTC."""
    pa = arrow("a table")
    pc = compute()

    zone, unit = column.type.tz, column.type.unit
    column = column.cast(pa.timestamp("ns" if unit == "ns" else "us"))  # of a zone's the instant: UTC
    mark = "Z" if zone else ""
    written = pc.strftime(column, format="%Y-%m-%dT%H:%M:%S").to_pylist()
    return [None if text is None else whole_second(text) + mark for text in written]


def whole_second(text: str | None) -> Any:
    if text is None:
        return None
    whole, point, fraction = text.partition(".")
    if not fraction.strip("0"):
        return whole
    fraction = fraction.ljust(6, "0")
    return f"{whole}{point}{fraction[:6] if fraction.endswith('000') and len(fraction) == 9 else fraction}"


def kept_types(tables: list[ArrowTable], choice: ColumnChoice) -> KeptColumns:
    """Return the columns that rows keep of `tables`, with the type that each has in all of them. Raises `InputError`."""
    pa = arrow("the input")
    first = tables[0].schema
    names = list(choice.keep or ())
    if choice.keep is None:
        names = [name for name in first.names if name not in choice.media or is_text(first.field(name).type)]
    fields = []
    for name in names:
        kinds = []
        for table in tables:
            if name not in table.schema.names:
                raise InputError(f"{table.name}: has no column {quoted(name)}, which {tables[0].name} has; keep others")
            kinds.append(storable(table.schema.field(name).type))
        try:
            one = pa.unify_schemas([pa.schema([(name, kind)]) for kind in kinds], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"column {quoted(name)} has another type in each file, and cannot be kept: {shortened(str(error))}"
            ) from None
        fields.append(one.field(0))
    return KeptColumns(list(names), pa.schema(fields).serialize().to_pybytes())


def storable(kind: pa.DataType) -> pa.DataType:
    """Return a type that results are written with: encodings of others are left out."""
    pa = arrow("the input")
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return storable(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return storable(kind.value_type)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    return kind
