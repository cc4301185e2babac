"""The folders of batches in the file store: when each was last written, and what it takes on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from headrace.storage.local import FileStore

PREFIX = "batch_"


class BatchFolder(NamedTuple):
    """A batch's folder. `written_s` is when a file came to it last (seconds since 1970): of a batch that has ended, its end;
    `has_output` says that it has."""

    batch_id: str
    written_s: float
    has_output: bool


class DiskUsage(NamedTuple):
    """Files, and the bytes that they take: those with several names count in proportion."""

    files: int = 0
    bytes: int = 0

    def with_file(self, info: os.stat_result) -> DiskUsage:
        return DiskUsage(self.files + 1, self.bytes + info.st_size // max(1, info.st_nlink))


def batch_folders(store: FileStore, written_before_s: float = float("inf")) -> Iterator[BatchFolder]:
    """Yield the folders of batches that were last written before that time, in no order."""
    with os.scandir(store.root) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                    continue
                written_s = entry.stat(follow_symlinks=False).st_mtime
                if written_s < written_before_s:
                    has_output = any(name.startswith("output.") for name in os.listdir(entry.path))  # noqa: PTH208
                    yield BatchFolder(entry.name, written_s, has_output)


def usage_below(store: FileStore, name: str) -> DiskUsage:
    """Return what the files below `name` take."""
    usage = DiskUsage()
    for folder, _, names in os.walk(store.path(name)):
        for each in names:
            with suppress(FileNotFoundError):
                usage = usage.with_file(os.lstat(os.path.join(folder, each)))  # noqa: PTH118
    return usage


def top_folders(store: FileStore) -> list[str]:
    """Return the names of the other folders of the store: uploads and files of callers, responses, blobs."""
    with os.scandir(store.root) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((PREFIX, "."))
        )
