"""Results as files: JSON lines, CSV and TSV with nested values in dotted columns, Parquet; and what they never replace."""

from __future__ import annotations

import csv
import filecmp
import gzip
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from headrace.batches.arrow_library import arrow, parquet
from headrace.batches.inputs.compression import bare
from headrace.batches.outputs.output_lines import simple, simple_row
from headrace.batches.outputs.result_cells import flat, inert, kept_column
from headrace.batches.outputs.result_columns import NO_COLUMNS, ResultColumns
from headrace.errors import InputError

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
MAX_NAME_BYTES = 255
PARQUET = (".parquet", ".pq")


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


def check_suffix(path: Path, *, whole: bool, excel: bool = False) -> None:
    """Raise `InputError` for a name that promises another format than is written. A name without a suffix gets JSON lines."""
    suffix, packing = bare(path).suffix.lower(), path.suffix.lower()
    if suffix in PARQUET:
        if packing != suffix:
            raise InputError(f"{path}: Parquet is compressed within; name a file that ends in {suffix}")
        parquet(f"{path}: Parquet")
    elif packing == ".zst":
        arrow(f"{path}: zstd")
    if excel and packing not in TABLES:
        raise InputError(f"{path}: --excel is for tables; name a file that ends in .csv or .tsv")
    if whole and suffix in (*TABLES, *PARQUET):
        raise InputError(f"{path}: whole completions are JSON lines; name a file that ends in .jsonl")
    if suffix and suffix not in (*TABLES, *LINES, *PARQUET):
        raise InputError(
            f"{path}: {bare(path).suffix} is not written; the name ends in .jsonl or .ndjson (JSON lines), .csv or "
            f".tsv, each also "
            ".gz or .zst, or in .parquet"
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
    """Return `results.errors.jsonl` of `results.jsonl`, and `results.errors.csv.gz` of `results.csv.gz`."""
    name = bare(out)
    packing = out.suffix if name != out else ""
    return out.with_name(f"{name.stem}.errors{name.suffix or '.jsonl'}{packing}")


def write_results(
    lines: Callable[[], Iterator[bytes]],
    path: Path,
    *,
    structured: bool,
    whole: bool,
    overwrite: bool = True,
    excel: bool = False,
    columns: ResultColumns = NO_COLUMNS,
) -> int:
    """Write output `lines` to `path` as `{custom_id, value}`, or `whole` as they are; `.csv`, `.tsv` and `.parquet` by `columns`.

    Returns how many. `lines` may be called twice: a table has columns for what no schema lists only where a row needs them.
    The file appears at the end, whole. Without `overwrite` a file that is there stays: raises `InputError`.
    """
    with rendered(lines, path, structured=structured, whole=whole, excel=excel, columns=columns) as (temporary, count):
        if overwrite:
            temporary.replace(path)
        else:
            place(temporary, path)
    return count


def holds(
    lines: Callable[[], Iterator[bytes]],
    path: Path,
    *,
    structured: bool,
    whole: bool,
    excel: bool = False,
    columns: ResultColumns = NO_COLUMNS,
) -> bool:
    """Return True if `path` is what `write_results` would write, byte for byte."""
    with rendered(lines, path, structured=structured, whole=whole, excel=excel, columns=columns) as (temporary, _):
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
    lines: Callable[[], Iterator[bytes]],
    path: Path,
    *,
    structured: bool,
    whole: bool,
    excel: bool,
    columns: ResultColumns,
) -> Iterator[tuple[Path, int]]:
    """Yield a temporary file beside `path` with the results, and its number of rows."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    suffix = bare(path).suffix.lower()

    def rows() -> Iterator[dict[str, Any]]:
        return (simple_row(line, structured=structured) for line in lines())

    try:
        if suffix in PARQUET:
            from headrace.batches.outputs.arrow_results import write_parquet

            count = write_parquet(rows, temporary, columns)
        elif suffix in TABLES and not whole:
            delimiter = ";" if excel and suffix == ".csv" else TABLES[suffix]
            with packed(temporary, path.suffix.lower()) as file:
                count = _write_table(rows, file, columns, delimiter=delimiter, excel=excel)
        else:
            count = 0
            with packed(temporary, path.suffix.lower()) as file:
                for line in lines():
                    file.write(line if whole else simple(line, structured=structured) + b"\n")
                    count += 1
        yield temporary, count
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def packed(path: Path, suffix: str) -> Iterator[BinaryIO]:
    """Yield a new file to write into, compressed as `suffix` says. The same content gives the same bytes."""
    with path.open("xb") as file:
        if suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packing:
                yield cast("BinaryIO", packing)
        elif suffix == ".zst":
            pa = arrow("--out: zstd")
            with pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as packing:
                yield packing
        else:
            yield file


def _write_table(
    lines: Callable[[], Iterator[dict[str, Any]]],
    file: BinaryIO,
    wanted: ResultColumns,
    *,
    delimiter: str,
    excel: bool,
) -> int:
    wanted = wanted.settled(lines()) if wanted.kept_in_rows else wanted
    answers = wanted.cells()

    def rows() -> Iterator[dict[str, Any]]:
        return map(answers.row if answers else flat, lines())

    columns = dict.fromkeys(
        answers.names if answers else ["custom_id", *(inert(kept_column(name)) for name in wanted.kept_names)]
    )
    for row in rows():
        columns.update(dict.fromkeys(row))
    count = 0
    with io.TextIOWrapper(
        io.BufferedWriter(Unclosed(file), 256 * 1024), encoding="utf-8-sig" if excel else "utf-8", newline=""
    ) as text:
        writer = csv.DictWriter(text, list(columns), restval="", delimiter=delimiter)
        writer.writeheader()
        for row in rows():
            writer.writerow(row)
            count += 1
    return count


class Unclosed(io.RawIOBase):
    """A writer whose file is closed by whoever opened it."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)
