"""The files of an input: one, several, a pattern, a folder; and the format of each, by its first bytes and its name."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrace.batches.inputs.compression import bare, is_expanded
from headrace.batches.inputs.tables import DELIMITERS
from headrace.batches.inputs.text_files import UNSUPPORTED_FORMATS, is_json_array, opened
from headrace.errors import InputError

TEXTS = {".txt", ".md", ".markdown", ".rst"}
LINES = {".jsonl", ".ndjson", ".json"}
BINARY = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
TABLES = {*DELIMITERS, *LINES, *BINARY}
PARQUET, ARROW, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
MAGIC = re.compile(r"[*?\[]")


class InputFile(NamedTuple):
    """One file, and what its lines' ids begin with: empty where it is the only one."""

    path: Path
    prefix: str = ""

    def format(self) -> str:
        """Return "parquet", "arrow", "table" (CSV), "array" (one JSON list) or "lines". What a file begins with decides
        before its name does. Raises `InputError` for one that cannot be opened."""
        suffix = bare(self.path).suffix.lower()
        if self.path.is_fifo():  # it can be read once
            if suffix in BINARY:
                raise InputError(
                    f"{self.path}: is a pipe, and {suffix} is read from both ends; write it to a file first"
                )
            return "table" if suffix in DELIMITERS else "lines"
        with opened(self.path) as file:
            begin = file.peek(8)[:8] if isinstance(file, io.BufferedReader) and file.seekable() else b""
            if begin.startswith((PARQUET, ARROW)) and is_expanded(file):
                what = "Parquet" if begin.startswith(PARQUET) else "Arrow"
                raise InputError(
                    f"{self.path}: is a file of {what} within gzip or zstd, and is read from both ends; unpack it ({what} is "
                    "compressed within)"
                )
        if begin.startswith(PARQUET):
            return "parquet"
        if begin.startswith((ARROW, ARROW_STREAM)) or (suffix in BINARY and BINARY[suffix] == "arrow"):
            return "arrow"
        if suffix in BINARY and not any(begin.startswith(mark) for mark, _, _ in UNSUPPORTED_FORMATS):
            what = "no file of Parquet" if begin else "empty"
            raise InputError(
                f"{self.path}: is {what}, whatever its name says; write it again, or name it for what it is"
            )
        if suffix in DELIMITERS:
            return "table"
        return "array" if suffix == ".json" and is_json_array(self.path) else "lines"


def is_pattern(name: str) -> bool:
    """Return True for a pattern such as `in/*.csv`; not where there is a file of that very name."""
    return MAGIC.search(name) is not None and not os.path.lexists(name)


def files_of(sources: Sequence[str | Path], *, follow: bool = False) -> list[InputFile]:
    """Return the files that `sources` (files, folders of tables, patterns) stand for, each pattern's by name. Raises `InputError`
    for a pattern without files, and for a link that leads out of a folder, unless it is to `follow` it."""
    paths: list[Path] = []
    for source in sources:
        if is_pattern(str(source)):
            paths += matching(str(source), follow=follow)
        elif Path(source).is_dir():
            paths += tables_in(Path(source), follow=follow)
        else:
            paths.append(Path(source))
    if len(paths) == 1:
        return [InputFile(paths[0])]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    if twice:
        raise InputError(f"{min(twice)}: is named twice; a file is read once")
    root = os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100 (links stay what they are called)
    return [InputFile(path, f"{os.path.relpath(path, root)}:") for path in paths]


def matching(pattern: str, *, follow: bool) -> list[Path]:
    """Return the ordinary files that a pattern matches, by name."""
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (`Path.glob` takes no absolute pattern)
    found = [Path(name) for name in sorted(names) if not Path(name).is_dir()]
    if not found:
        raise InputError(f"{pattern}: no file matches this pattern")
    check_inside(found, Path(MAGIC.split(pattern)[0] + "x").parent, follow=follow)
    return found


def tables_in(folder: Path, *, follow: bool) -> list[Path]:
    """Return the tables below `folder`, by name; none of what is hidden. Raises `InputError` where there is none."""
    found = sorted(path for path in visible(folder) if bare(path).suffix.lower() in TABLES and not path.is_dir())
    if not found:
        raise InputError(
            f"{folder}: there is no text or Markdown file in this folder ({', '.join(sorted(TEXTS))}), and no table "
            f"({', '.join(sorted(TABLES))}, each also .gz and .zst)"
        )
    check_inside(found, folder, follow=follow)
    return found


def visible(folder: Path) -> Iterable[Path]:
    """Yield what lies below `folder`, hidden files and folders left out."""
    for path in folder.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def has_texts(folder: Path) -> bool:
    return any(path.suffix.lower() in TEXTS and not path.is_dir() for path in visible(folder))


def has_tables(folder: Path) -> bool:
    return any(bare(path).suffix.lower() in TABLES and path.is_file() for path in visible(folder))


def check_inside(paths: Iterable[Path], folder: Path, *, follow: bool) -> None:
    """Raise `InputError` for what is no ordinary file, and for a link that leads out of `folder`."""
    root = os.path.realpath(folder)
    for path in paths:
        if not follow and (leaves := leaving(path, root)):
            raise InputError(f"{path}: {leaves}")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a pipe or a device, and no ordinary file; name it by itself, or leave it out")


def leaving(path: Path, root: str) -> str:
    """Return what is wrong with a link whose target lies outside `root`, the real path of a folder; empty for any other file."""
    target = os.path.realpath(path)
    if os.path.commonpath([root, target]) == root:
        return ""
    return f"is a link that leads out of the folder, to {target}; give --follow (follow=True) to read it all the same"


def is_file_list(source: Any) -> bool:
    """Return True for a list of paths: several files. Texts in a list are items."""
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(path, Path) for path in source)
