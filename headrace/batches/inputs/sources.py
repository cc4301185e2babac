"""Sources of a batch: files in all their formats, folders, tables in memory or Python objects, read one record at a time. Every
error names the file and the line, or the row and the column."""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.batches.inputs.column_choice import ColumnChoice, KeptColumns
from headrace.batches.inputs.complaints import MAX_ERROR_CHARS, MAX_NAMED_ERRORS, Complaints, InputRecord, Strict
from headrace.batches.inputs.input_files import (
    TEXTS,
    InputFile,
    files_of,
    has_tables,
    has_texts,
    is_file_list,
    is_pattern,
    leaving,
    visible,
)
from headrace.batches.inputs.python_items import (
    LONE_SURROGATE,
    checked_items,
    column_objects,
    has,
    is_columns,
    objects,
)
from headrace.batches.inputs.tables import table_columns, table_rows
from headrace.batches.inputs.text_files import (
    BOM,
    LINE_BYTES,
    check_is_text,
    decoded,
    json_array,
    json_lines,
    json_object,
    opened,
)
from headrace.batches.media.media_files import is_media_source, media_records
from headrace.errors import InputError
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.batches.inputs.arrow_rows import ArrowTable

__all__ = [
    "LINE_BYTES",
    "MAX_ERROR_CHARS",
    "MAX_NAMED_ERRORS",
    "Complaints",
    "InputRecord",
    "Source",
    "Strict",
    "checked_items",
    "input_paths",
    "json_object",
    "kept_columns",
    "once",
    "records",
    "sampled",
]

Source = str | Path | Iterable[Any]


def once(source: Source) -> Any:
    """Return `source`, or the table that it is: some tables can be asked for their rows only once."""
    if not isinstance(source, type) and has(source, "__arrow_c_stream__"):
        from headrace.batches.inputs.arrow_rows import arrow_stream

        return arrow_stream(source)
    if (library := table_library(source)) is not None:
        from headrace.batches.inputs.table_libraries import library_table

        return library_table(source, library)
    return source


def table_library(source: Any) -> str | None:
    """Return whose table an object is that does not speak the Arrow C stream protocol, and is read in a way of its library; None
    for any other object. `__dataframe__` is the interchange protocol of any library."""
    if isinstance(source, type | str | Path | Mapping | list | tuple):
        return None
    library = type(source).__module__.partition(".")[0]
    marks = {"datasets": "with_format", "polars": "collect_schema", "pyarrow": "count_rows"}
    if library in marks and has(source, marks[library]):
        return library
    return "__dataframe__" if has(source, "__dataframe__") else None


def records(
    source: Source,
    *,
    encoding: str | None = None,
    complaints: Complaints | None = None,
    choice: ColumnChoice | None = None,
    follow: bool = False,
) -> Iterator[InputRecord]:
    """Yield the records of a file (its format by its first bytes and its name), a folder, a pattern or a list of paths, a table,
    a dict of columns, or an iterable of dicts, texts, Structs, dataclasses or Pydantic models. Raises `InputError`.

    `encoding` is a text file's, UTF-8 by default. A text, and a file of a folder of texts, is the field `text`. With `complaints`
    a bad line is added there and skipped; without, it is raised. A table has to have the columns of `choice`, and no others of it
    are read. Links that lead out of a folder or a pattern are refused, unless it is to `follow` them.
    """
    complaints = complaints or Strict()
    check_encoding(encoding)
    table: Any = once(source)
    if is_arrow_table(table):
        return table.records(choice, complaints)
    if is_columns(source):
        return column_records(source, complaints, choice)
    paths = paths_of(source)
    if paths is None:
        media = choice.media if choice is not None else ()
        return objects(checked_items(source, "the input", "dicts or texts"), complaints, media)
    if is_media_source(paths):
        return media_records(paths, complaints, follow=follow)
    if len(paths) == 1 and is_folder_of_texts(paths[0]):
        return folder(Path(paths[0]), encoding, complaints, follow=follow)
    return (
        record
        for file in files_of(paths, follow=follow)
        for record in placed(file, file_records(file, encoding, complaints, choice), choice)
    )


def kept_columns(
    source: Any, choice: ColumnChoice, *, encoding: str | None = None, follow: bool = False
) -> KeptColumns | None:
    """Return the columns that rows over `source` keep, as far as they are known before it is read; None where they keep none.
    Raises `InputError` for one that is not there."""
    if not choice.keeps:
        return None
    check_encoding(encoding)
    names = None if choice.keep is None else list(choice.keep)
    if is_arrow_table(source):
        return types_of([source], choice)
    if is_columns(source):
        return KeptColumns(names or [name for name in source if name not in choice.media])
    paths = paths_of(source)
    if paths is None or is_media_source(paths) or (len(paths) == 1 and is_folder_of_texts(paths[0])):
        return KeptColumns(names)
    files = files_of(paths, follow=follow)
    formats = [file.format() for file in files]
    if set(formats) <= {"parquet", "arrow"}:
        from headrace.batches.inputs.arrow_rows import arrow_file

        return types_of([arrow_file(file.path, what) for file, what in zip(files, formats, strict=True)], choice)
    if names is None and set(formats) == {"table"}:
        every: dict[str, None] = {}
        for file in files:
            with opened(file.path) as opened_file:
                every |= dict.fromkeys(table_columns(file.path, opened_file, encoding))
        names = list(every)
    return KeptColumns(names)


def types_of(tables: Sequence[ArrowTable], choice: ColumnChoice) -> KeptColumns:
    from headrace.batches.inputs.arrow_rows import kept_types

    choice.check(tables[0].name, tables[0].schema.names)
    return kept_types(list(tables), choice)


def is_arrow_table(source: Any) -> bool:
    library = sys.modules.get("headrace.batches.inputs.arrow_rows")
    return library is not None and isinstance(source, library.ArrowTable)


def check_encoding(encoding: str | None) -> None:
    if encoding is not None:
        try:
            "a\n".encode(encoding)
        except (LookupError, ValueError, TypeError):  # unknown, no encoding of texts, or no name at all
            raise InputError(
                f"encoding {quoted(encoding)} is not one that Python knows; for example utf-8 or latin-1"
            ) from None


def paths_of(source: Any) -> list[str | Path] | None:
    """Return the files, folders and patterns that a source names; None for any other source. Raises `InputError` for what is
    no path."""
    if is_file_list(source):
        paths: list[str | Path] = list(source)
    elif isinstance(source, str | Path):
        paths = [source]
    else:
        return None
    for path in paths:
        if not str(path):
            raise InputError("the input: the path is empty; the current folder is `.`")
        try:
            Path(path).is_dir()
        except (OSError, ValueError) as error:  # longer than any name, or with a NUL in it
            raise InputError(
                f"the input {str(path)[:40]!r} … is no path ({error.__class__.__name__}); give one text as [text]"
            ) from None
    return paths


def input_paths(source: Any, *, follow: bool = False) -> list[Path]:
    """Return the files that a source is read from: results never replace one."""
    paths = paths_of(source)
    if paths is None:
        return []
    if is_media_source(paths):
        return [Path(os.path.realpath(path)) for path in paths]
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return [Path(os.path.realpath(paths[0]))]
    return [Path(os.path.realpath(file.path)) for file in files_of(paths, follow=follow)]


def is_folder_of_texts(path: str | Path) -> bool:
    """Return True for a folder whose files are items. Raises `InputError` for one that has tables as well."""
    folder = Path(path)
    if is_pattern(str(path)) or not folder.is_dir() or not has_texts(folder):
        return False
    if has_tables(folder):
        raise InputError(
            f"{path}: has texts, which are an item each, and tables, whose rows are; name one kind: {path}/*.csv, or move it"
        )
    return True


def placed(file: InputFile, found: Iterator[InputRecord], choice: ColumnChoice | None) -> Iterator[InputRecord]:
    """Return the records of a file, with what their ids begin with, and where their paths lead from."""
    folder = str(file.path.parent) if choice is not None and choice.media else ""
    if not file.prefix and not folder:
        return found
    return (record._replace(prefix=file.prefix, folder=folder) for record in found)


def file_records(
    file: InputFile, encoding: str | None, complaints: Complaints, choice: ColumnChoice | None
) -> Iterator[InputRecord]:
    what = file.format()
    if what in ("parquet", "arrow"):
        from headrace.batches.inputs.arrow_rows import arrow_file

        return arrow_file(file.path, what).records(choice, complaints)
    if what == "table":
        return table(file.path, encoding, complaints, choice)
    return (json_array if what == "array" else json_lines)(file.path, encoding, complaints)


def column_records(source: Any, complaints: Complaints, choice: ColumnChoice | None) -> Iterator[InputRecord]:
    if choice is not None:
        choice.check("the input", list(source))
    return column_objects(source, complaints, choice.media if choice is not None else ())


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


def table(
    path: Path, encoding: str | None, complaints: Complaints, choice: ColumnChoice | None
) -> Iterator[InputRecord]:
    """Yield the rows under a header row, their values as text (`headrace.batches.inputs.tables`)."""
    with opened(path) as file:
        if isinstance(file, io.BufferedReader):
            check_is_text(file.peek(16), path)
        yield from table_rows(path, file, encoding, LINE_BYTES, complaints, choice)


def folder(path: Path, encoding: str | None, complaints: Complaints, *, follow: bool) -> Iterator[InputRecord]:
    """Yield every text and Markdown file below `path`, sorted by name: fields `text`, `path` (from the folder on) and
    `name`.

    The file's path is its `custom_id`. Hidden files and folders are left out.
    """
    names = sorted(
        found.relative_to(path)
        for found in visible(path)
        if found.suffix.lower() in TEXTS
        and (found.is_file() or not found.exists())  # a link that leads nowhere is told, a folder or a pipe is no text
    )
    root = os.path.realpath(path)
    for number, name in enumerate(names, 1):
        where = str(path / name)
        place = LONE_SURROGATE.sub("\ufffd", name.as_posix())
        try:
            if not follow and (path / name).exists() and (leaves := leaving(path / name, root)):
                raise InputError(f"{where}: {leaves}")
            with opened(path / name) as file:
                raw = file.read(LINE_BYTES + 1)
            if len(raw) > LINE_BYTES:
                raise InputError(f"{where}: larger than {LINE_BYTES} bytes (1 MiB), the most an item may have")
            text = decoded(raw.removeprefix(BOM), encoding, where)
        except InputError as error:
            for record in complaints.bad_row(number, where, str(error)):
                yield record._replace(fields={"custom_id": place})
            continue
        fields = {"custom_id": place, "text": text, "path": place, "name": LONE_SURROGATE.sub("\ufffd", name.stem)}
        yield InputRecord(number, where, fields)
    if not names:
        raise InputError(f"{path}: there is no text or Markdown file in this folder ({', '.join(sorted(TEXTS))})")
