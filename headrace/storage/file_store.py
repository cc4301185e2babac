"""The file store: what batches, uploads and responses leave in files. Committed files are immutable, and found by name alone.

It is a local folder (`local.py`) or a prefix of an object store's bucket (`object_store.py`). The ledger names the store and its
id, so that a worker which sees another one reports that instead of failing items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import PurePosixPath
from typing import BinaryIO

import msgspec

from headrace.errors import StorageError
from headrace.ledger.store_name import StoreName
from headrace.text.quoting import quoted


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
