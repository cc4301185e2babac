"""Files that batches refer to by their hash, each in the store once.

    media/ab/ab…              the bytes
    batch_x/media/ab…         a hard link to them, of each batch that refers to them

Where a file has one name only (an object store), each batch has its own, once.

So what a batch refers to goes with its folder, and a file with one link left is nobody's. A batch that is opened while a file
of nobody is swept has a link of its own, or writes the file again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from headrace.errors import StorageError
from headrace.storage.file_store import FileStore

FOLDER = "media"


def blob_of(batch_id: str, sha: str) -> str:
    """Return the name of a blob in the folder of a batch."""
    return f"{batch_id}/{FOLDER}/{sha}"


def keep_blob(store: FileStore, batch_id: str, sha: str, data: bytes) -> None:
    """Keep a blob for a batch. Idempotent."""
    name, shared = blob_of(batch_id, sha), f"{FOLDER}/{sha[:2]}/{sha}"
    if not store.has_links:
        store.commit_once(name, [data])
        return
    if store.exists(name):
        return
    store.commit_once(shared, [data])
    try:
        store.link(shared, name)
    except StorageError:  # swept between the two
        store.commit_once(name, [data])


def link_blobs(store: FileStore, batch_id: str, new: str) -> None:
    """Keep for the batch `new` what another one refers to."""
    for file in store.files(f"{batch_id}/{FOLDER}"):
        store.link(file.name, blob_of(new, file.name.rpartition("/")[2]))


def unused_blobs(store: FileStore, age_s: float) -> Iterator[tuple[str, int]]:
    """Yield the names and sizes of blobs that no batch refers to, and that were last written `age_s` seconds ago or earlier."""
    before_ms = (time.time() - age_s) * 1000
    for file in store.files(FOLDER):
        if file.names == 1 and file.modified_ms < before_ms:
            yield file.name, file.bytes
