"""Results as files: JSON lines, or CSV with nested values flattened into dotted columns."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import InputError
from headrace.lines import simple

TABLES = {".csv": ",", ".tsv": "\t"}


def writable(path: Path) -> Path:
    """The file that results go to: what a link leads to, never in place of a device. Raises `InputError`."""
    target = Path(os.path.realpath(path))
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else f"the folder {target.parent} does not exist"
        raise InputError(f"{path}: {what}; name a file, for example results.jsonl")
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: is no ordinary file; name one, or print the rows and redirect them")
    return target


def errors_beside(out: Path) -> Path:
    """`results.errors.jsonl` of `results.jsonl`."""
    return out.with_name(f"{out.stem}.errors{out.suffix or '.jsonl'}")


def write_results(lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, whole: bool) -> int:
    """Write output `lines` to `path` as `{custom_id, value}`, or `whole` as they are; `.csv` and `.tsv` by columns.

    Returns how many. `lines` may be called twice: the columns of a table are those of all rows together. The file appears
    at the end, whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix.lower() in TABLES and not whole:
            delimiter = TABLES[path.suffix.lower()]
            count = _write_table(lines, temporary, structured=structured, delimiter=delimiter)
        else:
            count = 0
            with temporary.open("wb") as file:
                for line in lines():
                    file.write(line if whole else simple(line, structured=structured) + b"\n")
                    count += 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_table(lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, delimiter: str) -> int:
    def rows() -> Iterable[dict[str, Any]]:
        return (flat(msgspec.json.decode(simple(line, structured=structured))) for line in lines())

    columns: dict[str, None] = {"custom_id": None}
    for row in rows():
        columns.update(dict.fromkeys(row))
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="", delimiter=delimiter)
        writer.writeheader()
        for row in rows():
            writer.writerow(row)
            count += 1
    return count


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """`{"custom_id", "value": {"a": {"b": 1}}}` as `{"custom_id", "a.b": 1}`; lists stay JSON; errors are `error.code` …"""
    row: dict[str, Any] = {"custom_id": line["custom_id"]}
    if "error" in line:
        _flatten("error", line["error"], row)
    elif isinstance(line["value"], dict):
        for name, value in line["value"].items():
            _flatten(name if name != "custom_id" else "value.custom_id", value, row)
    else:
        _flatten("value", line["value"], row)
    return row


def _flatten(name: str, value: Any, row: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, row)
    elif isinstance(value, list | dict | bool):
        row[name] = msgspec.json.encode(value).decode()
    else:
        row[name] = "" if value is None else value
