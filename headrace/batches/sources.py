"""Sources of a batch: JSON lines, CSV or TSV, a folder of texts, or Python objects, read one record at a time. Every error
names the file and the line, or the row and the column."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import re
import stat
import sys
from array import array
from collections.abc import AsyncIterable, ItemsView, Iterable, Iterator, KeysView, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from headrace.batches.tables import DELIMITERS, UTF16, table_rows
from headrace.errors import InputError
from headrace.text import digits
from headrace.text.quoting import quoted, shortened

LINE_BYTES = 1024 * 1024
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SURROGATE_ESCAPE = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""An escaped backslash, a whole pair, or half of one (in this order: the first two are no halves)."""
MAX_NAMED_ERRORS = 100
MAX_ERROR_CHARS = 400
"""Characters of one error message: it may quote the line."""
BOM = b"\xef\xbb\xbf"
TEXTS = {".txt", ".md", ".markdown", ".rst"}
UNSUPPORTED_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive", "save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "write it as .jsonl or .csv"),
    (b"ARROW1", "an Arrow file", "write it as .jsonl or .csv"),
    (b"\x1f\x8b", "compressed (gzip)", "unpack it: gunzip -c FILE | headrace extract - …"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "unpack it: zstdcat FILE | headrace extract - …"),
    (b"BZh", "compressed (bzip2)", "unpack it: bzcat FILE | headrace extract - …"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it: xzcat FILE | headrace extract - …"),
    (b"SQLite format 3", "a database", "write the rows as .jsonl or .csv"),
)

TABULAR = (
    *("columns", "column_names", "dtype", "dtypes"),
    *("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__", "__array__", "__array_interface__"),
)
"""Attributes that tables, columns and arrays of any library have, and no list of items."""

Source = str | Path | Iterable[Any]


class InputRecord(NamedTuple):
    """One record of a source: its number from 1 on, its place (file and line), and its fields."""

    number: int
    where: str
    fields: dict[str, Any]


class Complaints:
    """The errors in the lines of one input: all are counted, the first `MAX_NAMED_ERRORS` are named in a single
    `InputError` at the end."""

    def __init__(self, source: str = "the input"):
        self.source = source
        self.count = 0
        self.skipped = 0  # items that were left out by choice
        self._first: list[str] = []

    def add(self, message: str) -> None:
        self.count += 1
        if len(self._first) < MAX_NAMED_ERRORS:
            self._first.append(message if len(message) <= MAX_ERROR_CHARS else f"{message[:MAX_ERROR_CHARS]} …")

    def check(self) -> None:
        """Raise `InputError` for all errors that were added, if there are any."""
        if self.count > 1:
            more = f"\n  … and {self.count - MAX_NAMED_ERRORS} more" if self.count > MAX_NAMED_ERRORS else ""
            said = "\n  ".join(self._first)
            raise InputError(f"{self.source}: {self.count} of its lines cannot be used:\n  {said}{more}")
        if self.count:
            raise InputError(self._first[0])


class Strict(Complaints):
    """Complaints whose first error is raised at once."""

    def add(self, message: str) -> None:
        raise InputError(message)


def records(
    source: Source, *, encoding: str | None = None, complaints: Complaints | None = None
) -> Iterator[InputRecord]:
    """Yield the records of a file (`.csv` and `.tsv` by their header row, anything else as JSON lines), a folder, or an
    iterable of dicts, texts, Structs, dataclasses or Pydantic models. Raises `InputError`.

    `encoding` is a file's, UTF-8 by default. A text, and a file of a folder, is the field `text`. With `complaints` a bad
    line is added there and skipped; without, it is raised.
    """
    complaints = complaints or Strict()
    if encoding is not None:
        try:
            "a\n".encode(encoding)
        except (LookupError, ValueError, TypeError):  # unknown, no encoding of texts, or no name at all
            raise InputError(
                f"encoding {quoted(encoding)} is not one that Python knows; for example utf-8 or latin-1"
            ) from None
    if not isinstance(source, str | Path):
        return objects(checked_items(source, "the input", "dicts or texts"), complaints)
    if not str(source):
        raise InputError("the input: the path is empty; the current folder is `.`")
    path = Path(source)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:  # longer than any name, or with a NUL in it
        raise InputError(
            f"the input {str(source)[:40]!r} … is no path ({error.__class__.__name__}); give one text as [text]"
        ) from None
    if is_folder:
        return folder(path, encoding, complaints)
    if path.suffix.lower() in DELIMITERS:
        return table(path, encoding, complaints)
    return json_lines(path, encoding, complaints)


def checked_items(source: Any, name: str, kind: str) -> Iterable[Any]:
    """Return `source` if it gives its items one by one in an order of its own: a list, a tuple, a generator. Raises
    `InputError` naming the type of what is iterable and yet no list of `kind`: a table gives the names of its columns,
    a dict its keys."""
    sort = type(source).__name__
    not_one = f"{name} must be a list (or a generator) of {kind}, not "
    if isinstance(source, str | bytes | bytearray | memoryview):
        raise InputError(f"{not_one}{sort}; give one as [it]")
    if isinstance(source, Mapping):
        raise InputError(f"{not_one}{sort}, which gives its keys; give [it], or list(it.values())")
    if any(has(source, mark) for mark in TABULAR):
        raise InputError(
            f"{not_one}{type(source).__module__.partition('.')[0]}.{sort}: tables and arrays are not taken. Give their rows: "
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


def has(source: Any, mark: str) -> bool:
    try:
        return hasattr(source, mark)
    except Exception:  # an object of somebody else's, which may do anything when it is looked at
        return False


def sampled(
    found: Iterator[InputRecord], *, limit: int | None = None, sample: int | None = None
) -> Iterator[InputRecord]:
    """Yield the first `limit` records, and of those `sample` picked at random (the same ones each time), in their order."""
    for name, value in (("limit", limit), ("sample", sample)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{name}={quoted(value)}: must be a whole number, 1 or more")
    first = islice(found, None if limit is None else min(limit, sys.maxsize))
    if sample is None:
        return first
    chance, kept = random.Random(0), []
    for seen, record in enumerate(first):
        if seen < sample:
            kept.append((seen, record))
        elif (place := chance.randrange(seen + 1)) < sample:
            kept[place] = (seen, record)
    return (record for _, record in sorted(kept, key=lambda pair: pair[0]))


def json_lines(path: Path, encoding: str | None, complaints: Complaints) -> Iterator[InputRecord]:
    """Yield the objects of JSON lines as records; empty lines do not count, nor does a byte order mark."""
    with opened(path) as file:
        number = 0
        if encoding is None and isinstance(file, io.BufferedReader) and file.peek(2)[:2] in UTF16:
            encoding = "utf-16"
        lines = raw_lines(file, encoding)
        while raw := next(lines, b""):
            number += 1
            where = f"{path}, line {number}"
            if number == 1:
                check_is_text(raw, path)
            try:
                if len(raw) > LINE_BYTES and not raw.endswith(b"\n"):
                    skip_rest(file)
                    raise InputError(f"{where}: longer than {LINE_BYTES} bytes (1 MiB), the most a line may have")
                text = decoded(raw, encoding, where)
                text = text.removeprefix("\ufeff") if number == 1 else text
                record = InputRecord(number, where, json_object(text, where)) if text.strip() else None
            except InputError as error:
                complaints.add(str(error))
                continue
            if record is not None:
                yield record


def raw_lines(file: BinaryIO, encoding: str | None) -> Iterator[bytes]:
    """Yield the lines of `file`; of an encoding in which a line feed is more than one byte, in its own bytes all the same."""
    wide = "\n".encode(encoding or "utf-8")
    if wide == b"\n":
        while raw := file.readline(LINE_BYTES + 1):
            yield raw
        return
    try:
        with io.TextIOWrapper(file, encoding=encoding, newline="\n") as texts:
            for text in texts:
                yield text.encode(encoding or "utf-8")
    except UnicodeError as error:
        raise InputError(f"{file.name}: not {encoding}: {error}") from None


def skip_rest(file: BinaryIO) -> None:
    """Read to the end of a line that is too long."""
    while (raw := file.readline(LINE_BYTES)) and not raw.endswith(b"\n"):
        pass


def check_is_text(raw: bytes, path: Path) -> None:
    """Raise `InputError` for a file of a format that is not read, by what it begins with."""
    for mark, what, remedy in UNSUPPORTED_FORMATS:
        if raw.startswith(mark):
            raise InputError(f"{path}: is {what}; {remedy}")


def table(path: Path, encoding: str | None, complaints: Complaints) -> Iterator[InputRecord]:
    """Yield the rows under a header row, their values as text (`headrace.batches.tables`)."""
    with opened(path) as file:
        if isinstance(file, io.BufferedReader):
            check_is_text(file.peek(16), path)
        for row in table_rows(path, file, encoding, LINE_BYTES, complaints.add):
            yield InputRecord(*row)


def folder(path: Path, encoding: str | None, complaints: Complaints) -> Iterator[InputRecord]:
    """Yield every text and Markdown file below `path`, sorted by name: fields `text`, `path` (from the folder on) and
    `name`.

    The file's path is its `custom_id`. Hidden files and folders are left out.
    """
    names = sorted(
        found.relative_to(path)
        for found in path.rglob("*")
        if found.suffix.lower() in TEXTS
        and not any(part.startswith(".") for part in found.relative_to(path).parts)
        and (found.is_file() or not found.exists())  # a link that leads nowhere is told, a folder or a pipe is no text
    )
    for number, name in enumerate(names, 1):
        where = str(path / name)
        try:
            with opened(path / name) as file:
                raw = file.read(LINE_BYTES + 1)
            if len(raw) > LINE_BYTES:
                raise InputError(f"{where}: larger than {LINE_BYTES} bytes (1 MiB), the most an item may have")
            text = decoded(raw.removeprefix(BOM), encoding, where)
        except InputError as error:
            complaints.add(str(error))
            continue
        place = LONE_SURROGATE.sub("\ufffd", name.as_posix())
        fields = {"custom_id": place, "text": text, "path": place, "name": LONE_SURROGATE.sub("\ufffd", name.stem)}
        yield InputRecord(number, where, fields)
    if not names:
        raise InputError(f"{path}: there is no text or Markdown file in this folder ({', '.join(sorted(TEXTS))})")


def objects(source: Iterable[Any], complaints: Complaints) -> Iterator[InputRecord]:
    """Yield Python objects as records: a text becomes `{"text": …}`, anything else its fields as JSON."""
    for number, given in enumerate(source, 1):
        where = f"item {number}"
        try:
            yield InputRecord(number, where, fields_of(given, where))
        except InputError as error:
            complaints.add(str(error))


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


def opened(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"the input {quoted(str(path))} is no path: {error}") from None
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
        file.close()
        raise InputError(f"{path}: is a device, and may never end; name a file")
    return file


def decoded(raw: bytes, encoding: str | None, where: str) -> str:
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not {encoding or 'UTF-8'} (byte {error.start + 1} of the line is {raw[error.start]:#04x})"
        ) from None


def json_object(text: str, where: str) -> dict[str, Any]:
    try:
        try:
            line: Any = digits.decode(text)
        except msgspec.DecodeError:
            if not SURROGATE_ESCAPE.search(text):
                raise
            line = digits.decode(SURROGATE_ESCAPE.sub(replacement, text))
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(line, dict):
        raise InputError(f'{where}: must be a JSON object like {{"text": …}}, not {type(line).__name__}')
    return line


def replacement(found: re.Match[str]) -> str:
    """Return the match as it is, or U+FFFD for a lone surrogate: what is left of a character that a tool cut in two."""
    return "\\ufffd" if found["lone"] else found[0]
