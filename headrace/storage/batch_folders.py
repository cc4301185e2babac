"""The folders of batches in the file store: when each was last written, and what it takes on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from headrace.storage.file_store import FileStore, StoredFile

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

    def with_file(self, file: StoredFile) -> DiskUsage:
        return DiskUsage(self.files + 1, self.bytes + file.bytes // max(1, file.names))


def batch_folders(store: FileStore, written_before_s: float = float("inf")) -> Iterator[BatchFolder]:
    """Yield the folders of batches that were last written before that time, by name."""
    for name in store.folders():
        if name.startswith(PREFIX) and (written_s := store.changed_s(name)) < written_before_s:
            has_output = any(file.name.startswith(f"{name}/output.") for file in store.files(name))
            yield BatchFolder(name, written_s, has_output)


def usage_below(store: FileStore, name: str) -> DiskUsage:
    """Return what the files below `name` take."""
    usage = DiskUsage()
    for file in store.files(name):
        usage = usage.with_file(file)
    return usage


def top_folders(store: FileStore) -> list[str]:
    """Return the names of the other folders of the store: uploads and files of callers, responses, blobs."""
    return [name for name in store.folders() if not name.startswith(PREFIX)]
