"""Images, sound and PDF files as an input of their own: of a folder or a pattern each file is an item."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.batches.inputs.complaints import Complaints, InputRecord
from headrace.batches.inputs.input_files import has_tables, has_texts, is_pattern, leaving, matching, visible
from headrace.batches.inputs.python_items import LONE_SURROGATE
from headrace.batches.media.choice import FILE_FIELD
from headrace.batches.media.sniffing import SUFFIXES
from headrace.errors import InputError


def is_media_source(paths: Sequence[str | Path] | None) -> bool:
    """Return True for files, patterns and folders of nothing but media. Texts and tables in a folder are items themselves."""
    return bool(paths) and all(_is_media(path) for path in paths or ())


def _is_media(source: str | Path) -> bool:
    path = Path(source)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return True  # by its name; what is in it is looked at when it is read
    if is_pattern(str(source)):
        return False
    return path.is_dir() and has_media(path) and not has_texts(path) and not has_tables(path)


def has_media(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES and not path.is_dir() for path in visible(folder))


def media_records(sources: Sequence[str | Path], complaints: Complaints, *, follow: bool) -> Iterator[InputRecord]:
    """Yield a record for each file, by name: its path from the folder on is its `custom_id`, and its field `path`; `name` is its
    name without the suffix. A link that leads out of its folder is a bad row, unless it is to `follow` it."""
    for number, (path, root) in enumerate(_files(sources, follow=follow), 1):
        where = str(path)
        place = LONE_SURROGATE.sub("\ufffd", os.path.relpath(path, root))
        if not follow and path.is_symlink() and (leaves := leaving(path, os.path.realpath(root))):
            for record in complaints.bad_row(number, where, f"{where}: {leaves}"):
                yield record._replace(fields={"custom_id": place})
            continue
        fields = {"custom_id": place, "path": place, "name": LONE_SURROGATE.sub("\ufffd", path.stem), FILE_FIELD: path}
        yield InputRecord(number, where, fields)


def _files(sources: Sequence[str | Path], *, follow: bool) -> Iterator[tuple[Path, Path]]:
    """Yield each file, with the folder from which on it is named."""
    if len(sources) == 1 and Path(sources[0]).is_dir():
        folder = Path(sources[0])
        for path in sorted(
            found for found in visible(folder) if found.suffix.lower() in SUFFIXES and not found.is_dir()
        ):
            yield path, folder
        return
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if is_pattern(str(source)):
            paths += matching(str(source), follow=follow)
        elif path.is_dir():
            paths += (found for found, _ in _files([path], follow=follow))
        else:
            paths.append(path)
    twice = next((path for path in paths if paths.count(path) > 1), None) if len(set(paths)) < len(paths) else None
    if twice is not None:
        raise InputError(f"{twice}: is named twice; a file is read once")
    root = Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))  # noqa: PTH100
    for path in paths:
        yield path, root
