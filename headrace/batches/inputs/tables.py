"""CSV and TSV as spreadsheet programs write them: sniffed delimiters, Excel's `sep=` line, unnamed columns at the end."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import Complaints, InputRecord
from headrace.batches.inputs.compression import bare
from headrace.errors import InputError
from headrace.text.quoting import quoted

MAX_HEADER_CHARS = 1024 * 1024
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
SNIFFED_CHARS = 64 * 1024
UTF16 = (b"\xff\xfe", b"\xfe\xff")
SEP = re.compile(r'^\ufeff?"?sep=(?P<delimiter>.)"?(?:\r\n|\r|\n|$)', re.IGNORECASE | re.DOTALL)


def table_rows(
    path: Path,
    file: BinaryIO,
    encoding: str | None,
    max_bytes: int,
    complaints: Complaints,
    choice: ColumnChoice | None = None,
) -> Iterator[InputRecord]:
    """Yield every row under the header row, values as text. A row that cannot be used is a complaint, and the next one is
    read. Raises `InputError` where the rest cannot be read, and for a header without a column of `choice`."""
    file = seekable(file)
    with io.TextIOWrapper(file, encoding=encoding or encoding_by_mark(file) or "utf-8-sig", newline="") as text:
        csv.field_size_limit(max_bytes)
        yield from read_rows(path, text, encoding, max_bytes, complaints, choice)


def read_rows(
    path: Path,
    text: io.TextIOWrapper,
    encoding: str | None,
    max_bytes: int,
    complaints: Complaints,
    choice: ColumnChoice | None,
) -> Iterator[InputRecord]:
    number = 1
    try:
        delimiter, skipped = dialect(bare(path).suffix.lower(), text)
        rows = csv.reader(bounded_lines(path, text, max_bytes), delimiter=delimiter, strict=True)
        names = header_names(next(rows, []), path, skipped + 1)
        if choice is not None and names:
            choice.check(str(path), names)
        number = rows.line_num + skipped + 1
        for row in rows:
            where = f"{path}, line {number}"
            if row and (problem := ragged(row, names)):
                yield from complaints.bad_row(number, where, f"{where}: {problem}")
            elif row:
                yield InputRecord(number, where, dict(zip(names, row, strict=False)))
            number = rows.line_num + skipped + 1
    except UnicodeError as error:
        what = f"byte {error.object[error.start]:#04x}" if isinstance(error, UnicodeDecodeError) else str(error)
        line = undecodable_line(text)
        raise InputError(
            f"{path}{f', line {line}' if line else ''}: not {encoding or 'UTF-8'}: {what}. Say what it is with --encoding, "
            "for example --encoding latin-1"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: broken CSV: {error} (is a quote open that begins there?)") from None


def table_columns(path: Path, file: BinaryIO, encoding: str | None) -> list[str]:
    """Return the names in the header row. Raises `InputError`."""
    file = seekable(file)
    with io.TextIOWrapper(file, encoding=encoding or encoding_by_mark(file) or "utf-8-sig", newline="") as text:
        try:
            delimiter, skipped = dialect(bare(path).suffix.lower(), text)
            rows = csv.reader(bounded_lines(path, text, MAX_HEADER_CHARS), delimiter=delimiter, strict=True)
            return header_names(next(rows, []), path, skipped + 1)
        except UnicodeError:
            raise InputError(f"{path}: not {encoding or 'UTF-8'}. Say what it is with --encoding") from None
        except csv.Error as error:
            raise InputError(f"{path}, row 1: broken CSV: {error} (is a quote open that begins there?)") from None


def bounded_lines(path: Path, text: io.TextIOWrapper, max_chars: int) -> Iterator[str]:
    """Yield the lines of `text`. Raises `InputError` for one without an end: it is not taken into memory first."""
    number = 0
    while line := text.readline(max_chars + 1):
        number += 1
        if len(line) > max_chars and line[-1] not in "\r\n":
            raise InputError(f"{path}, line {number}: longer than {max_chars} characters, the most a line may have")
        yield line


def undecodable_line(text: io.TextIOWrapper) -> int | None:
    """Return the first line that is not in the encoding of `text`; None where lines are not told apart by a byte."""
    if text.encoding.startswith("utf-16"):
        return None
    file = cast("BinaryIO", text.buffer)
    file.seek(0)
    for number, raw in enumerate(file, 1):
        try:
            raw.decode(text.encoding)
        except UnicodeError:
            return number
    return None


def seekable(file: BinaryIO) -> BinaryIO:
    """Return `file`, or a copy of what comes through a pipe."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the wrapper around it)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


def encoding_by_mark(file: BinaryIO) -> str | None:
    """Return `utf-16` where a byte order mark says so, as Excel's "Unicode Text" and PowerShell write it, else None."""
    mark = file.read(2)
    file.seek(0)
    return "utf-16" if mark in UTF16 else None


def dialect(suffix: str, text: io.TextIOWrapper) -> tuple[str, int]:
    """Return the delimiter, and how many lines stand before the header; afterwards the header is the next line of `text`."""
    beginning = text.read(SNIFFED_CHARS)
    text.seek(0)
    if (sep := SEP.match(beginning)) is not None:
        text.readline()
        return sep["delimiter"], 1
    delimiters, header = DELIMITERS[suffix], unquoted(beginning)
    # The header decides: `csv.Sniffer` guesses from prose as well, and takes a letter for a delimiter.
    return max(delimiters, key=lambda char: (header.count(char), char == delimiters[0])), 0


def unquoted(text: str) -> str:
    """Return what stands outside quotes in the first row of `text`."""
    outside = []
    for place, piece in enumerate(text.split('"')):
        if place % 2 == 0:
            line = re.split(r"[\r\n]", piece, maxsplit=1)
            outside.append(line[0])
            if len(line) > 1:
                break
    return "".join(outside)


def header_names(header: list[str], path: Path, number: int) -> list[str]:
    """Return the names of the columns, without those at the end that have none. Raises `InputError`."""
    names = list(header)
    if names:
        names[0] = names[0].removeprefix("\ufeff")
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    seen: dict[str, int] = {}
    for column, name in enumerate(names, 1):
        if not name.strip():
            raise InputError(f"{path}, line {number}, column {column}: the header has no name there")
        if name in seen:
            raise InputError(
                f"{path}, line {number}: the header names {quoted(name)} twice, in columns {seen[name]} and {column}"
            )
        seen[name] = column
    return names


def ragged(row: list[str], names: list[str]) -> str:
    """Return what is wrong with the number of the row's columns; empty cells after the last name are none."""
    if len(row) < len(names):
        missing = f"column {len(row) + 1} ({quoted(names[len(row)])}) is missing"
        return f"{len(row)} columns instead of {len(names)}: {missing}"
    if any(cell.strip() for cell in row[len(names) :]):
        return (
            f"{len(row)} columns instead of {len(names)}: column {len(names) + 1} has no name in the header "
            "(a delimiter inside a value needs quotes)"
        )
    return ""
