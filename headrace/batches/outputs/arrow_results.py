"""Results as Arrow tables and Parquet files, typed by the schema of the answers and by the input's own types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.batches.arrow_library import arrow, parquet
from headrace.batches.outputs.answer_shape import AnswerShape
from headrace.batches.outputs.arrow_values import arrow_array, json_text
from headrace.batches.outputs.output_lines import simple_row
from headrace.batches.outputs.result_cells import BESIDE, OTHER, free_name, kept_column
from headrace.batches.outputs.result_columns import ResultColumns

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_ROWS = 2048
GROUP_ROWS = 64 * 1024
GROUP_BYTES = 32 << 20
CODE, MESSAGE, DETAILS = "error.code", "error.message", "error.details"

Rows = Callable[[], Iterator[dict[str, Any]]]


class RowSurvey:
    """A look at all rows for what neither the schema nor the input says: which of the columns beside the answers a row needs,
    and what the kept columns of an untyped input hold."""

    def __init__(self, columns: ResultColumns):
        self._columns = columns
        self.beside = set[str]()
        self.has_other = self.has_errors = self.has_values = False
        self.kept = {name: set[str]() for name in columns.kept_names}

    def over(self, rows: Iterable[dict[str, Any]]) -> RowSurvey:
        untyped = self._columns.kept is not None and not self._columns.kept.types
        shape = self._columns.shape
        for row in rows:
            if untyped:
                for name, value in (row.get("kept") or {}).items():
                    self.kept.setdefault(name, set()).add(json_kind(value))
            if "error" in row:
                self.has_errors = True
                continue
            self.has_values = True
            if len(row) > 2:
                self.beside.update(name for name in BESIDE if name in row)
            if shape is not None and shape.is_deep and not self.has_other:
                self.has_other = not shape.lists_all(row["value"])
        return self

    def findings(self) -> tuple[Any, ...]:
        """Return what decides about the columns of a table whose input is typed."""
        return self.has_other, self.has_errors, frozenset(self.beside)


class ResultTable:
    """The columns of results in Arrow, and their rows as record batches: `custom_id`, the kept columns, the answer's fields, then
    what rows need beside them. With `errors` what did not succeed is among the rows."""

    def __init__(self, columns: ResultColumns, survey: RowSurvey, *, errors: bool):
        pa = arrow("a table of results")
        self._columns = columns
        fields: list[tuple[str, pa.DataType, Callable[[dict[str, Any]], Any]]] = [
            ("custom_id", pa.string(), lambda row: row["custom_id"])
        ]
        taken = ["custom_id"]

        def add(name: str, kind: pa.DataType, read: Callable[[dict[str, Any]], Any]) -> None:
            name = free_name(name, taken)
            taken.append(name)
            fields.append((name, kind, read))

        for name, kind in kept_types(columns, survey).items():
            add(kept_column(name), kind, lambda row, name=name: (row.get("kept") or {}).get(name))
        shape = columns.shape
        if shape is not None and shape.kind == "object":
            for name, inner in shape.fields.items():
                add(name, arrow_type(inner), lambda row, name=name: (row.get("value") or {}).get(name))
        elif shape is not None or errors or survey.has_values or not survey.has_errors:
            add("value", arrow_type(shape) if shape else pa.string(), lambda row: row.get("value"))
        if shape is not None and survey.has_other:
            add(OTHER, pa.string(), lambda row: dict(shape.unlisted(row.get("value"), into_lists=True)) or None)
        for name in BESIDE:
            if name in survey.beside:
                add(name, pa.string(), lambda row, name=name: row.get(name))
        if errors or survey.has_errors:
            add(CODE, pa.string(), lambda row: row.get("error", {}).get("code"))
            add(MESSAGE, pa.string(), lambda row: row.get("error", {}).get("message"))
        if survey.has_errors:
            add(DETAILS, pa.string(), error_details)
        self._fields = fields
        self.schema = pa.schema([(name, kind) for name, kind, _ in fields])

    def batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Return rows as a batch. Raises `InputError` for a value that is not of its column's type."""
        pa = arrow("a table of results")
        arrays = []
        for name, kind, read in self._fields:
            values = [read(row) for row in rows]
            arrays.append(arrow_array(values, kind, lambda at, name=name: f"{name!r} of {rows[at]['custom_id']!r}"))
        return pa.record_batch(arrays, schema=self.schema)


def kept_types(columns: ResultColumns, survey: RowSurvey) -> dict[str, pa.DataType]:
    pa = arrow("a table of results")
    if columns.kept is None:
        return {}
    if columns.kept.types:
        schema = pa.ipc.read_schema(pa.py_buffer(columns.kept.types))
        return {field.name: field.type for field in schema}
    kinds = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    found: dict[str, pa.DataType] = {}
    for name, seen in survey.kept.items():
        held = seen - {"null"}
        kind = next(iter(held)) if len(held) == 1 else "float" if held == {"int", "float"} else "json"
        found[name] = kinds.get(kind, pa.string())
    return found


def json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "json"
    return "float" if isinstance(value, float | msgspec.Raw) else "str" if isinstance(value, str) else "json"


def arrow_type(shape: AnswerShape) -> pa.DataType:
    """Return the Arrow type of the values of a shape."""
    pa = arrow("a table of results")
    if shape.kind == "object":
        return pa.struct([(name, arrow_type(inner)) for name, inner in shape.fields.items()])
    if shape.kind == "list" and shape.items is not None:
        return pa.list_(arrow_type(shape.items))
    if shape.kind == "map" and shape.items is not None:
        return pa.map_(pa.string(), arrow_type(shape.items))
    if shape.kind == "decimal":
        return pa.decimal128(38, shape.scale)
    return {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
    }.get(shape.kind, pa.string())


def error_details(row: dict[str, Any]) -> str | None:
    error = row.get("error", {})
    more = {name: value for name, value in error.items() if name not in ("code", "message")}
    return json_text(more) if more else None


def write_parquet(rows: Rows, path: Path, columns: ResultColumns) -> int:
    """Write rows to a new file, and return how many. They are read once, and again where one needs a column that nothing
    told of."""
    survey = RowSurvey(columns)
    if columns.kept is None or columns.kept.types:
        survey.has_values = True
        before = survey.findings()
        count = _write_groups(
            rows(), path, ResultTable(columns, survey, errors=False), lambda: survey.findings() != before, survey
        )
        if count is not None:
            return count
        path.unlink()
        survey = RowSurvey(columns)
    count = _write_groups(rows(), path, ResultTable(columns, survey.over(rows()), errors=False), lambda: False, None)
    return count or 0


def _write_groups(
    rows: Iterator[dict[str, Any]],
    path: Path,
    table: ResultTable,
    is_wrong: Callable[[], bool],
    survey: RowSurvey | None,
) -> int | None:
    """Write rows by groups; None when a look at them says that the table is wrong for them."""
    pa, pq = arrow("Parquet"), parquet("Parquet")
    count, group_rows, group_bytes = 0, 0, 0
    with path.open("xb") as file, pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        while page := list(islice(rows, PAGE_ROWS)):
            if survey is not None:
                survey.over(page)
                if is_wrong():
                    return None
            batch = table.batch(page)
            group.append(batch)
            count, group_rows, group_bytes = count + len(page), group_rows + len(page), group_bytes + batch.nbytes
            if group_rows >= GROUP_ROWS or group_bytes >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, table.schema))
                group, group_rows, group_bytes = [], 0, 0
        if group or not count:
            writer.write_table(pa.Table.from_batches(group, table.schema))
    return count


def batches(table: ResultTable, rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while page := list(islice(rows, PAGE_ROWS)):
        yield table.batch(page)


class GrowingTable:
    """All rows of a batch, what did not succeed among them, as a table in memory. Until it is whole they are held as the lines
    that they were read from: as objects they would take some ten times as much."""

    def __init__(self, columns: ResultColumns, *, structured: bool):
        self._columns = columns
        self._structured = structured
        self._survey = RowSurvey(columns)
        self._lines: list[bytes] = []

    def add(self, lines: list[bytes]) -> None:
        self._survey.over(self._rows(lines))
        self._lines += lines

    def whole(self) -> pa.Table:
        """Return the table. Raises `InputError` for a value that is not of its column's type."""
        pa = arrow("to_arrow()")
        table = ResultTable(self._columns, self._survey, errors=True)
        return pa.Table.from_batches(list(batches(table, self._rows(self._lines))), table.schema)

    def _rows(self, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        return (simple_row(line, structured=self._structured) for line in lines)
