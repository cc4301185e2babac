"""Files that batches refer to by their hash, each in the store once.

    media/ab/ab…              the bytes
    batch_x/media/ab…         a hard link to them, of each batch that refers to them

So what a batch refers to goes with its folder, and a file with one link left is nobody's. A batch that is opened while a file
of nobody is swept has a link of its own, or writes the file again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from headrace.errors import StorageError
from headrace.storage.local import FileStore

FOLDER = "media"


def blob_of(batch_id: str, sha: str) -> str:
    """Return the name of a blob in the folder of a batch."""
    return f"{batch_id}/{FOLDER}/{sha}"


def keep_blob(store: FileStore, batch_id: str, sha: str, data: bytes) -> None:
    """Keep a blob for a batch. Idempotent."""
    name, shared = blob_of(batch_id, sha), f"{FOLDER}/{sha[:2]}/{sha}"
    if store.exists(name):
        return
    store.commit_once(shared, [data])
    try:
        store.link(shared, name)
    except StorageError:  # swept between the two
        store.commit_once(name, [data])


def link_blobs(store: FileStore, batch_id: str, new: str) -> None:
    """Keep for the batch `new` what another one refers to."""
    with suppress(FileNotFoundError), os.scandir(store.path(f"{batch_id}/{FOLDER}")) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                store.link(blob_of(batch_id, entry.name), blob_of(new, entry.name))


def unused_blobs(store: FileStore, age_s: float) -> Iterator[tuple[str, int]]:
    """Yield the names and sizes of blobs that no batch refers to, and that were last written `age_s` seconds ago or earlier."""
    before = time.time() - age_s
    for folder in sorted(Path(store.root / FOLDER).glob("??")):
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink == 1 and info.st_mtime < before:
                        yield f"{FOLDER}/{folder.name}/{entry.name}", info.st_size
