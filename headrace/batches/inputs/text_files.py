"""Text files of records: JSON lines, a JSON array, and what all texts have in common (opened, decoded, bounded)."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from headrace.batches.inputs.complaints import Complaints, InputRecord
from headrace.batches.inputs.compression import expanded
from headrace.batches.inputs.tables import UTF16
from headrace.errors import InputError
from headrace.text import digits
from headrace.text.quoting import quoted

LINE_BYTES = 1024 * 1024
SURROGATE_ESCAPE = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""An escaped backslash, a whole pair, or half of one (in this order: the first two are no halves)."""
JSON_SPACE = " \t\r\n\ufeff"
NOT_SPACE = re.compile(r"[^ \t\r\n]")
ARRAY_CHUNK = 64 * 1024
BOM = b"\xef\xbb\xbf"
UNSUPPORTED_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive", "save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (b"PARE", "an encrypted Parquet file", "decrypt it first"),
    (b"FEA1", "a file of Feather 1", "write it as Feather 2 or as Parquet"),
    (b"BZh", "compressed (bzip2)", "unpack it: bzcat FILE | headrace extract - …"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it: xzcat FILE | headrace extract - …"),
    (b"SQLite format 3", "a database", "write the rows as .jsonl or .csv"),
)


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
                yield from complaints.bad_row(number, where, str(error))
                continue
            if record is not None:
                yield record


def is_json_array(path: Path) -> bool:
    """Return True for a file whose first sign is the bracket that opens a list."""
    with opened(path) as file:
        begin = file.peek(64)[:64] if isinstance(file, io.BufferedReader) and file.seekable() else b""
    encoding = "utf-16" if begin[:2] in UTF16 else "utf-8-sig"
    return begin.decode(encoding, "ignore").lstrip(JSON_SPACE).startswith("[")


def json_array(path: Path, encoding: str | None, complaints: Complaints) -> Iterator[InputRecord]:
    """Yield the objects of a file that is one JSON list. An object that is no JSON ends the reading: where the next one begins
    is not known."""
    with opened(path) as file:
        if encoding is None and isinstance(file, io.BufferedReader) and file.peek(2)[:2] in UTF16:
            encoding = "utf-16"
        with io.TextIOWrapper(file, encoding=encoding or "utf-8-sig", newline="") as text:
            try:
                for number, element in enumerate(array_elements(path, text), 1):
                    where = f"{path}, item {number}"
                    try:
                        record = InputRecord(number, where, json_object(element, where))
                    except InputError as error:
                        yield from complaints.bad_row(number, where, str(error))
                    else:
                        yield record
            except UnicodeError as error:
                raise InputError(
                    f"{path}: not {encoding or 'UTF-8'}: {error}. Say what it is with --encoding"
                ) from None


def array_elements(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the elements of a JSON list as they stand there, each of `LINE_BYTES` characters at most."""
    scan = json.JSONDecoder().raw_decode
    held, at, number = text.read(ARRAY_CHUNK), 0, 0
    ended, problem = False, ""

    def more(size: int) -> None:
        nonlocal held, at, ended
        data = text.read(size)
        ended = not data
        held, at = held[at:] + data, 0

    def skip_space() -> None:
        nonlocal at
        while True:
            found = NOT_SPACE.search(held, at)
            at = found.start() if found else len(held)
            if found or ended:
                return
            more(ARRAY_CHUNK)

    skip_space()
    at += 1  # the bracket
    while True:
        skip_space()
        if held[at : at + 1] == "]":
            at += 1
            skip_space()
            if at < len(held):
                raise InputError(f"{path}: something follows the list's end: {quoted(held[at : at + 40])}")
            return
        if number:
            if held[at : at + 1] != ",":
                where = f"after item {number}" + (": the list has no end there" if at >= len(held) else "")
                raise InputError(f"{path}: broken JSON {where}: a comma or the end of the list must follow")
            at += 1
            skip_space()
        number += 1
        step = ARRAY_CHUNK
        while True:
            try:
                _, end = scan(held, at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError):
                    raise InputError(f"{path}, item {number}: nested too deeply") from None
                end, problem = 0, str(error)
            if end and (end < len(held) or ended):
                break
            if ended:
                raise InputError(f"{path}, item {number}: broken JSON: {problem if not end else 'it has no end'}")
            if len(held) - at > LINE_BYTES:
                raise InputError(
                    f"{path}, item {number}: broken JSON, or longer than {LINE_BYTES} characters (1 MiB), the most it may have"
                )
            more(step)
            step *= 2
        yield held[at:end]
        at = end


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
    return expanded(path, file)


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
