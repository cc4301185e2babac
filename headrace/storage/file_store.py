"""The file store: what batches, uploads and responses leave in files. Committed files are immutable, and found by name alone.

It is a local folder (`local.py`) or a prefix of an object store's bucket (`object_store.py`). The ledger names the store and its
id, so that a worker which sees another one reports that instead of failing items.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

import msgspec

from headrace.errors import SettingsError, StorageError
from headrace.ledger.script import Ledger
from headrace.ledger.store_name import StoreName, agreed_store
from headrace.text.masking import masked
from headrace.text.object_urls import OBJECT_URL
from headrace.text.quoting import quoted

URL = re.compile("[a-z][a-z0-9+.-]*://")


class StoredFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A committed file: its name in the store, its size in bytes, when it was committed, how many names it has."""

    name: str
    bytes: int
    modified_ms: int
    names: int = 1


class FileStore(ABC):
    """Files by names such as `batch_x/input.jsonl`. All methods block, and raise `StorageError` for a name that leads out of the
    store, for a file that is missing, and when the store cannot be reached or has no room."""

    is_near = True
    """Whether a small file that need not be durable is written sooner than a thread is asked to."""

    has_links = True
    """Whether a file may have several names without a copy."""

    @property
    @abstractmethod
    def name(self) -> StoreName:
        """Return its address, and the id that lies in it."""

    @abstractmethod
    def writer(self, name: str, *, durable: bool = True) -> AbstractContextManager[BinaryIO]:
        """Yield a file to write incrementally; it is committed as `name` at the end of a block that raises nothing.

        Raises `FileExistsError` when it was committed before. One that need not be `durable` may be lost with the power.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a committed file to be read; it can be sought in."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes of `name` from `offset` on (default: all)."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return True if it was committed."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return its size in bytes."""

    @abstractmethod
    def link(self, source: str, name: str) -> None:
        """Make what was committed as `source` a file `name` as well, without sending its content where that is possible."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file or a folder. Idempotent."""

    @abstractmethod
    def files(self, folder: str = "") -> Iterator[StoredFile]:
        """Yield the committed files of `folder`, and of those in it, by name."""

    @abstractmethod
    def folders(self, folder: str = "") -> Iterator[str]:
        """Yield the names of the folders in `folder`, by name."""

    @abstractmethod
    def changed_s(self, folder: str) -> float:
        """Return when something was last put into a folder, in seconds since 1970; 0 for one that is gone."""

    @abstractmethod
    def abandoned(self, folder: str, age_s: float) -> Iterator[str]:
        """Yield the names of files in `folder` that were last written `age_s` seconds ago or earlier: committed ones, and
        unfinished ones whose writer has died."""

    @abstractmethod
    def remove_old(self, folder: str, *, age_s: float, unfinished_s: float) -> int:
        """Remove the files in `folder` that were committed more than `age_s` seconds ago, and what was not finished within
        `unfinished_s`; return how many."""

    @abstractmethod
    def free_mb(self) -> int:
        """Free space of the store, in MiB."""

    def sync(self, folder: str) -> None:  # noqa: B027 (objects are durable when they are there)
        """Make the names in `folder`, links too, survive a power loss."""

    def take_away_from_others(self) -> None:  # noqa: B027 (only a folder has other users)
        """Close to others what an earlier release has left open to them."""

    def commit(self, name: str, parts: Iterable[bytes], *, durable: bool = True) -> int:
        """Write `parts` as the file `name` and return its size in bytes; durable when this returns, unless it need not be.

        Raises `FileExistsError` when it was committed before.
        """
        size = 0
        with self.writer(name, durable=durable) as file:
            for part in parts:
                file.write(part)
                size += len(part)
        return size

    def commit_once(self, name: str, parts: Iterable[bytes]) -> None:
        """Commit as `commit` does, for a file whose content is the same whoever writes it: the first one stays."""
        if not self.exists(name):
            with suppress(FileExistsError):
                self.commit(name, parts)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of `name`, each with its line feed, without holding the file in memory."""
        with self.open(name) as file:
            yield from file


def check_name(name: str) -> str:
    """Return a name that leads nowhere else. Raises `StorageError`."""
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        raise StorageError(f"{quoted(name)} is not a name in the file store")
    return name


def missing(name: str) -> StorageError:
    return StorageError(
        f"{name} is missing from the file store: was it deleted, or is HEADRACE_FILES another place here?"
    )


def is_url(address: str) -> bool:
    """Return True for the address of an object store, False for a folder's."""
    return URL.match(address) is not None and not address.startswith("file://")


def open_store(address: str) -> FileStore:
    """Return the store at `address`, a folder or a URL such as `s3://bucket/prefix`. Raises `StorageError`, and
    `SettingsError` for another URL."""
    if is_url(address):
        if not OBJECT_URL.match(address):
            raise SettingsError(
                f"HEADRACE_FILES {masked(address)}: is neither a folder nor s3://BUCKET/PREFIX (gs://, az://)"
            )
        from headrace.storage.object_store import ObjectFileStore  # with it comes obstore

        return ObjectFileStore(address)
    from headrace.storage.local import LocalFileStore

    return LocalFileStore(Path(unquote(address.removeprefix("file://")) if address.startswith("file://") else address))


async def attach(ledger: Ledger, address: str) -> FileStore:
    """Return the store that the ledger names; the one at `address` becomes it when none is named yet.

    Raises `StorageError` when the named one cannot be reached from here, or is another one under the same address.
    """
    store = await asyncio.to_thread(open_store, address)
    mine = store.name
    theirs = await agreed_store(ledger, mine)
    if theirs.id == mine.id:
        return store
    if other := await asyncio.to_thread(_reached, theirs):
        return other
    raise StorageError(
        f"the ledger's files lie in {theirs.url} (store {theirs.id[:8]}), which is not what is seen here "
        f"({mine.url}, store {mine.id[:8]}). Share that with this machine, or set HEADRACE_FILES to it."
    )


def _reached(named: StoreName) -> FileStore | None:
    """Return the store of this name, if it can be reached from here. A folder is not made for it."""
    path = Path(unquote(named.url.removeprefix("file://")))
    if named.url.startswith("file://") and not (path / ".store-id").exists():
        return None
    store = open_store(named.url)
    return store if store.name.id == named.id else None
