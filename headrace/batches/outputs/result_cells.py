"""Cells of results: the rows of a batch as flat columns, for CSV and TSV, and for tables in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headrace.batches.outputs.answer_shape import AnswerShape
from headrace.batches.outputs.output_lines import IN_ROWS

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?%?")
OTHER = "other"
"""The column of what answers have beside the fields that their schema lists, as JSON."""
BESIDE = ("text", *IN_ROWS)


class AnswerColumns:
    """The columns of a batch's rows, as its schema has them: nested objects dotted, lists and maps a cell of JSON each.
    After them come `other`, and what was said beside the value, where a row has it."""

    def __init__(self, shape: AnswerShape, kept: Iterable[str]):
        self._shape = shape
        self._kept = list(kept)
        taken = dict.fromkeys(["custom_id", *(inert(kept_column(name)) for name in self._kept)])
        self._paths: list[tuple[str, tuple[str, ...]]] = []
        for name, path in leaves(shape):
            name = free_name(inert(name), taken)
            taken[name] = None
            self._paths.append((name, path))
        self.names = list(taken)

    def row(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return the cells of a decoded row; those that no column of the schema has under names of their own."""
        row: dict[str, Any] = {"custom_id": cell(line["custom_id"])}
        kept = line.get("kept") or {}
        for name in self._kept:
            row[inert(kept_column(name))] = cell(kept.get(name))
        if "error" in line:
            _flatten("error", line["error"], row)
            return row
        value = line["value"]
        for name, path in self._paths:
            inner = value
            for key in path:
                inner = inner.get(key) if isinstance(inner, dict) else None
            row[name] = cell(inner)
        if more := dict(self._shape.unlisted(value)):
            row[free_name(OTHER, self.names)] = cell(more)
        for name in BESIDE:
            if name in line:
                _flatten(free_name(name, self.names), line[name], row)
        return row


def leaves(shape: AnswerShape, at: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the dotted name and the path of each column of a shape."""
    if shape.kind == "object":
        for key, inner in shape.fields.items():
            yield from leaves(inner, (*at, key))
    else:
        yield ".".join(map(column, at)) or "value", at


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with `value.` before it as often as it takes to be none of `taken`."""
    while name in taken:
        name = f"value.{name}"
    return name


def kept_column(name: str) -> str:
    """Return the name of an input's column among those of results: `kept.` comes before the names that results have themselves,
    `custom_id` and `error.…`. No two columns get one name."""
    own = name
    while own.startswith("kept."):
        own = own.removeprefix("kept.")
    return f"kept.{name}" if own == "custom_id" or own.startswith("error.") else name


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """Flatten `{"custom_id", "value": {"a": {"b": 1}}}` to `{"custom_id", "a.b": 1}`; lists stay JSON; errors are
    `error.code` …

    A dot in a key is written `\\.`, so that no two values meet in one column; what was said beside the value stands in
    `text`, `tool_calls`, `images` and the like. A text that a spreadsheet would take for a formula has a `'` before it.
    """
    row: dict[str, Any] = {}
    _put(row, "custom_id", line["custom_id"])
    for key, value in (line.get("kept") or {}).items():
        _put(row, kept_column(key), value)
    if "error" in line:
        _flatten("error", line["error"], row)
        return row
    if isinstance(line["value"], dict):
        for key, value in line["value"].items():
            name = column(key)
            _flatten(name if name != "custom_id" else "value.custom_id", value, row)
        if not line["value"]:
            _put(row, "value", "{}")
    else:
        _flatten("value", line["value"], row)
    for name in BESIDE:
        if name in line:
            _flatten(name, line[name], row)
    return row


def column(key: str) -> str:
    """Return a key as part of a column's name."""
    return key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key


def _flatten(name: str, value: Any, row: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{column(key)}", inner, row)
    else:
        _put(row, name, value)


def _put(row: dict[str, Any], name: str, value: Any) -> None:
    row[free_name(inert(name), row)] = cell(value)


def cell(value: Any) -> Any:
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, msgspec.Raw):  # a number, as it was written
        return bytes(value).decode()
    return (
        msgspec.json.encode(value).decode() if isinstance(value, list | dict | bool) else "" if value is None else value
    )


def inert(text: str) -> str:
    """Return `text`, with a `'` before what a spreadsheet would run as a formula; a plain number is none."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text
