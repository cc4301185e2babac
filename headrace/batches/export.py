"""Results as files: JSON lines, or CSV with nested values flattened into dotted columns."""

from __future__ import annotations

import csv
import filecmp
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.batches.output_lines import IN_ROWS, simple
from headrace.errors import InputError
from headrace.text import digits

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
MAX_NAME_BYTES = 255
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?%?")


def writable(path: Path) -> Path:
    """Return the file that results go to: the target of a link, never in place of a device. Raises `InputError`."""
    try:
        target = Path(os.path.realpath(path))
        target.is_dir()
    except (OSError, ValueError) as error:  # longer than any name, or with a NUL in it
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)[:80]} …: {why}; choose a shorter name") from None
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else f"the folder {target.parent} does not exist"
        raise InputError(f"{path}: {what}; name a file, for example results.jsonl")
    if (target.exists() or path.exists()) and not path.is_file():  # `/dev/stdout` leads to a pipe without a name
        raise InputError(f"{path}: is no ordinary file; name one, or print the rows and redirect them")
    if len(os.fsencode(errors_beside(target).name)) > MAX_NAME_BYTES:
        raise InputError(
            f"{str(path)[:80]} …: the name is too long, as is that of the errors file; choose a shorter one"
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: nothing may be written into the folder {target.parent}; choose another one")
    return target


def check_suffix(path: Path, *, whole: bool) -> None:
    """Raise `InputError` for a name that promises another format than is written. A name without a suffix gets JSON lines."""
    suffix = path.suffix.lower()
    if whole and suffix in TABLES:
        raise InputError(f"{path}: whole completions are JSON lines; name a file that ends in .jsonl")
    if suffix and suffix not in TABLES and suffix not in LINES:
        raise InputError(
            f"{path}: {path.suffix} is not written; the name ends in .jsonl or .ndjson (JSON lines), .csv or .tsv"
        )


def check_is_no_input(path: Path, source: Path) -> None:
    """Raise `InputError` when results at `path`, or the errors beside it, would replace `source`, whatever links lead there."""
    target = writable(path)
    for name in (target, errors_beside(target)):
        if same_file(name, source):
            raise InputError(f"{name}: is the same file as {source}, which is read; give results another name")


def same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def check_free(*paths: Path, remedy: str) -> None:
    """Raise `InputError` for the first of `paths` that is there, be it as a link that leads nowhere."""
    for path in paths:
        if os.path.lexists(path):
            raise InputError(f"{path}: exists already; {remedy}")


def errors_beside(out: Path) -> Path:
    """Return `results.errors.jsonl` of `results.jsonl`."""
    return out.with_name(f"{out.stem}.errors{out.suffix or '.jsonl'}")


def write_results(
    lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, whole: bool, overwrite: bool = True
) -> int:
    """Write output `lines` to `path` as `{custom_id, value}`, or `whole` as they are; `.csv` and `.tsv` by columns.

    Returns how many. `lines` may be called twice: the columns of a table are those of all rows together. The file appears
    at the end, whole. Without `overwrite` a file that is there stays: raises `InputError`.
    """
    with rendered(lines, path, structured=structured, whole=whole) as (temporary, count):
        if overwrite:
            temporary.replace(path)
        else:
            place(temporary, path)
    return count


def holds(lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, whole: bool) -> bool:
    """Return True if `path` is what `write_results` would write, byte for byte."""
    with rendered(lines, path, structured=structured, whole=whole) as (temporary, _):
        return filecmp.cmp(temporary, path, shallow=False)


def place(temporary: Path, path: Path) -> None:
    """Give a complete file its name. Raises `InputError` when there is one of that name."""
    try:
        os.link(temporary, path)  # unlike a rename, a link refuses to replace what is there
    except FileExistsError:
        check_free(path, remedy="it appeared meanwhile, and was left alone")
        raise
    except OSError:  # a file system without links
        check_free(path, remedy="it appeared meanwhile, and was left alone")
        temporary.replace(path)


@contextmanager
def rendered(
    lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, whole: bool
) -> Iterator[tuple[Path, int]]:
    """Yield a temporary file beside `path` with the results, and its number of rows."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if path.suffix.lower() in TABLES and not whole:
            delimiter = TABLES[path.suffix.lower()]
            count = _write_table(lines, temporary, structured=structured, delimiter=delimiter)
        else:
            count = 0
            with temporary.open("xb") as file:
                for line in lines():
                    file.write(line if whole else simple(line, structured=structured) + b"\n")
                    count += 1
        yield temporary, count
    finally:
        temporary.unlink(missing_ok=True)


def _write_table(lines: Callable[[], Iterator[bytes]], path: Path, *, structured: bool, delimiter: str) -> int:
    def rows() -> Iterable[dict[str, Any]]:
        return (flat(digits.decode(simple(line, structured=structured))) for line in lines())

    columns: dict[str, None] = {"custom_id": None}
    for row in rows():
        columns.update(dict.fromkeys(row))
    count = 0
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="", delimiter=delimiter)
        writer.writeheader()
        for row in rows():
            writer.writerow(row)
            count += 1
    return count


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """Flatten `{"custom_id", "value": {"a": {"b": 1}}}` to `{"custom_id", "a.b": 1}`; lists stay JSON; errors are
    `error.code` …

    A dot in a key is written `\\.`, so that no two values meet in one column; what was said beside the value stands in
    `text`, `tool_calls`, `images` and the like. A text that a spreadsheet would take for a formula has a `'` before it.
    """
    row: dict[str, Any] = {}
    _put(row, "custom_id", line["custom_id"])
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
    for name in ("text", *IN_ROWS):
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
    name = inert(name)
    while name in row:
        name = f"value.{name}"
    row[name] = cell(value)


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
