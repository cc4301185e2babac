"""What a batch is made from: JSON lines, CSV or TSV, a folder of texts, or Python objects. One record at a time; every
complaint names the file and the line, or the row and the column."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import random
from collections.abc import AsyncIterable, ItemsView, Iterable, Iterator, KeysView, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from headrace.errors import InputError

LINE_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"
TEXTS = {".txt", ".md", ".markdown", ".rst"}
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
SNIFFED_CHARS = 64 * 1024

TABULAR = (
    *("columns", "column_names", "dtype", "dtypes"),
    *("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__", "__array__", "__array_interface__"),
)
"""What tables, columns and arrays of any library have, and no list of items."""

Source = str | Path | Iterable[Any]


class Record(NamedTuple):
    """One item as it was found: its number from 1 on, where that is, and its fields."""

    number: int
    where: str
    fields: dict[str, Any]


def records(source: Source, *, encoding: str | None = None) -> Iterator[Record]:
    """The records of a file (`.csv` and `.tsv` by their header row, anything else as JSON lines), a folder, or an iterable
    of dicts, texts, Structs, dataclasses or Pydantic models. Raises `InputError`.

    `encoding` is a file's, UTF-8 by default. A text, and a file of a folder, is the field `text`.
    """
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise InputError(
                f"encoding {encoding!r} is not one that Python knows; for example utf-8 or latin-1"
            ) from None
    if not isinstance(source, str | Path):
        return objects(checked_items(source, "the input", "dicts or texts"))
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
        return folder(path, encoding)
    if path.suffix.lower() in DELIMITERS:
        return table(path, encoding)
    return json_lines(path, encoding)


def checked_items(source: Any, name: str, kind: str) -> Iterable[Any]:
    """`source`, if it gives its items one by one in an order of its own: a list, a tuple, a generator. Raises `InputError`
    naming the type of what is iterable and yet no list of `kind`: a table gives the names of its columns, a dict its keys."""
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
    if isinstance(source, io.IOBase):
        raise InputError(f"{not_one}{sort}, an open file; give its path")
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


def chosen(found: Iterator[Record], *, limit: int | None = None, sample: int | None = None) -> Iterator[Record]:
    """The first `limit` records, and of those `sample` picked at random (the same ones each time), in their order."""
    for name, value in (("limit", limit), ("sample", sample)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{name}={value!r}: must be a whole number, 1 or more")
    first = islice(found, limit)
    if sample is None:
        return first
    chance, kept = random.Random(0), []
    for seen, record in enumerate(first):
        if seen < sample:
            kept.append((seen, record))
        elif (place := chance.randrange(seen + 1)) < sample:
            kept[place] = (seen, record)
    return (record for _, record in sorted(kept, key=lambda pair: pair[0]))


def json_lines(path: Path, encoding: str | None) -> Iterator[Record]:
    """A JSON object a line; empty lines do not count."""
    with opened(path) as file:
        number = 0
        while raw := file.readline(LINE_BYTES + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(raw) > LINE_BYTES and not raw.endswith(b"\n"):
                raise InputError(f"{where}: longer than {LINE_BYTES} bytes (1 MiB), the most a line may have")
            if number == 1 and raw.startswith(BOM):
                raise InputError(f"{where}: begins with a byte order mark; save the file as UTF-8 without BOM")
            if raw.strip():
                yield Record(number, where, json_object(decoded(raw, encoding, where), where))


def table(path: Path, encoding: str | None) -> Iterator[Record]:
    """The rows under a header row, their values as text. The delimiter is found out; a byte order mark is left out."""
    with opened(path) as file:
        text = io.TextIOWrapper(file, encoding=encoding or "utf-8-sig", newline="")
        try:
            rows = csv.reader(text, **dialect(path, text), strict=True)
            header = next(rows, None)
            if header is None:
                return
            check_header(header, path)
            for row in rows:
                where = f"{path}, row {rows.line_num}"
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(ragged(row, header, where))
                yield Record(rows.line_num, where, dict(zip(header, row, strict=True)))
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: not {encoding or 'UTF-8'}: byte {error.object[error.start]:#04x}. Say what it is with "
                "--encoding, for example --encoding latin-1"
            ) from None
        except csv.Error as error:
            raise InputError(f"{path}: broken CSV: {error}") from None


def dialect(path: Path, text: io.TextIOWrapper) -> dict[str, Any]:
    """How the file is written, from its beginning; a comma (or a tab for `.tsv`) when that says nothing."""
    delimiters = DELIMITERS[path.suffix.lower()]
    beginning = text.read(SNIFFED_CHARS)
    text.seek(0)
    csv.field_size_limit(LINE_BYTES)
    header = beginning.partition("\n")[0]
    # The header decides: `csv.Sniffer` guesses from prose as well, and takes a letter for a delimiter.
    return {"delimiter": max(delimiters, key=lambda char: (header.count(char), char == delimiters[0]))}


def check_header(header: list[str], path: Path) -> None:
    seen: dict[str, int] = {}
    for column, name in enumerate(header, 1):
        if not name.strip():
            raise InputError(f"{path}, row 1, column {column}: the header has no name there")
        if name in seen:
            raise InputError(f"{path}, row 1: the header names {name!r} twice, in columns {seen[name]} and {column}")
        seen[name] = column


def ragged(row: list[str], header: list[str], where: str) -> str:
    if len(row) < len(header):
        return f"{where}: {len(row)} columns instead of {len(header)}: column {len(row) + 1} ({header[len(row)]!r}) is missing"
    return (
        f"{where}: {len(row)} columns instead of {len(header)}: column {len(header) + 1} has no name in the header "
        "(a delimiter inside a value needs quotes)"
    )


def folder(path: Path, encoding: str | None) -> Iterator[Record]:
    """Every text and Markdown file below `path`, sorted by name: fields `text`, `path` (from the folder on) and `name`.

    The file's path is its `custom_id`. Hidden files and folders are left out.
    """
    names = sorted(
        found.relative_to(path)
        for found in path.rglob("*")
        if found.suffix.lower() in TEXTS and not any(part.startswith(".") for part in found.relative_to(path).parts)
    )
    for number, name in enumerate(names, 1):
        where = str(path / name)
        with opened(path / name) as file:
            raw = file.read(LINE_BYTES + 1)
        if len(raw) > LINE_BYTES:
            raise InputError(f"{where}: larger than {LINE_BYTES} bytes (1 MiB), the most an item may have")
        text = decoded(raw.removeprefix(BOM), encoding, where)
        fields = {"custom_id": name.as_posix(), "text": text, "path": name.as_posix(), "name": name.stem}
        yield Record(number, where, fields)
    if not names:
        raise InputError(f"{path}: there is no text or Markdown file in this folder ({', '.join(sorted(TEXTS))})")


def objects(source: Iterable[Any]) -> Iterator[Record]:
    """Python objects: a text becomes `{"text": …}`, anything else its fields as JSON."""
    for number, given in enumerate(source, 1):
        where = f"item {number}"
        if isinstance(given, str):
            given = {"text": given}
        elif hasattr(given, "model_dump") and not isinstance(given, type):
            given = given.model_dump(mode="json")
        elif isinstance(given, type) or (
            not isinstance(given, Mapping | msgspec.Struct) and not dataclasses.is_dataclass(given)
        ):
            raise InputError(f"{where}: must be a dict or a text, not {type(given).__name__}")
        try:
            fields = msgspec.json.decode(msgspec.json.encode(given))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{where}: cannot be written as JSON: {error}") from None
        yield Record(number, where, fields)


def opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"the input {str(path)!r} is no path: {error}") from None


def decoded(raw: bytes, encoding: str | None, where: str) -> str:
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not {encoding or 'UTF-8'} (byte {error.start + 1} of the line is {raw[error.start]:#04x})"
        ) from None


def json_object(text: str, where: str) -> dict[str, Any]:
    try:
        line: Any = msgspec.json.decode(text)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(line, dict):
        raise InputError(f'{where}: must be a JSON object like {{"text": …}}, not {type(line).__name__}')
    return line
