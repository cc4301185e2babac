"""The file store: input and output of batches in one local folder. Committed files are immutable.

Whatever the umask, files and folders in it are for this user alone; where the store's own folder lets a group write, for
that group as well.

A commit is atomic and durable: write to a temporary name, fsync, rename, fsync of the folder. The ledger names the store
and its id, so that a worker with another folder reports that instead of failing items.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from headrace.errors import StorageError
from headrace.guards.ownership import make_private_folder
from headrace.ledger.script import Ledger
from headrace.ledger.store_name import StoreName, agreed_store
from headrace.text.quoting import quoted

BLOCK = 1024 * 1024
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class FileStore:
    """Files under `root`, by names such as `batch_x/input.jsonl`. Raises `StorageError` for a root that everybody may write."""

    def __init__(self, root: Path):
        self.root = root
        make_private_folder(root)
        info = root.stat()
        if info.st_mode & stat.S_IWOTH:
            mode = stat.S_IMODE(info.st_mode)
            raise StorageError(
                f"{root}: everybody may write into it (mode {mode:04o}), and change answers: `chmod o-w {root}`"
            )
        self._group = info.st_mode & (stat.S_IRWXG | stat.S_ISGID)
        # It may read without being meant to: so the usual umask has it. And what is made here must get that group.
        if not self._group & stat.S_IWGRP or not (info.st_mode & stat.S_ISGID or info.st_gid == os.getegid()):
            self._group = 0
        mark = root / ".store-id"
        if not mark.exists():
            with suppress(FileExistsError):
                self._commit(mark, [secrets.token_hex(16).encode()])
        self.id = mark.read_text()

    @property
    def name(self) -> StoreName:
        return StoreName(self.root.resolve().as_uri(), self.id)

    def path(self, name: str) -> Path:
        """Return the path of `name`. Raises `StorageError` for a name that leads out of the store."""
        path = self.root / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise StorageError(f"{quoted(name)} is not a name in the file store")
        return path

    def commit(self, name: str, parts: Iterable[bytes], *, durable: bool = True) -> int:
        """Write `parts` as the file `name` and return its size in bytes; durable when this returns. One that need not be
        `durable` costs a fifth, survives the end of any process, and may be lost, or cut off, with the power.

        Raises `FileExistsError` when it was committed before, `StorageError` when there is no room.
        """
        return self._commit(self.path(name), parts, durable=durable)

    def commit_once(self, name: str, parts: Iterable[bytes]) -> None:
        """Commit as `commit` does, for a file whose content is the same whoever writes it: the first one stays."""
        if not self.exists(name):
            with suppress(FileExistsError):
                self.commit(name, parts)

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[BinaryIO]:
        """Yield a file to write incrementally; it is committed as `name` at the end of a block that raises nothing."""
        path = self.path(name)
        self._make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with no_room_is_a_storage_error(name), self._open_new(temporary) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until its process has ended: see `abandoned`
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            with no_room_is_a_storage_error(name):
                os.link(temporary, path)  # unlike a rename, a link refuses to replace what is there
                if durable:
                    sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def abandoned(self, folder: str, age_s: float) -> Iterator[str]:
        """Yield the names of temporary files in `folder` whose writer has died, and of committed ones, which were last written
        `age_s` seconds ago or earlier."""
        before = time.time() - age_s
        with suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    is_old = (
                        entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before
                    )
                    if is_old and not (entry.name.startswith(".") and is_locked(entry.path)):
                        yield f"{folder}/{entry.name}"

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes of `name` from `offset` on (default: all). Raises `StorageError` when it is not there."""
        with missing_is_a_storage_error(name), self.path(name).open("rb") as file:
            file.seek(offset)
            return file.read() if length is None else file.read(length)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of `name`, each with its line feed, without holding the file in memory. Raises `StorageError`."""
        with missing_is_a_storage_error(name), self.path(name).open("rb", buffering=BLOCK) as file:
            yield from file

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def size(self, name: str) -> int:
        return self.path(name).stat().st_size

    def link(self, source: str, name: str) -> None:
        """Hard-link `name` to the committed `source`, or copy it where links are not possible."""
        path = self.path(name)
        self._make_folder(path.parent)
        try:
            os.link(self.path(source), path)
        except OSError:
            self.commit(name, self.lines(source))

    def remove(self, name: str) -> None:
        """Remove a file or a folder. Idempotent."""
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def free_mb(self) -> int:
        """Free space of the store's disk, in MiB."""
        return shutil.disk_usage(self.root).free // (1024 * 1024)

    def take_away_from_others(self) -> None:
        """Close the folders that stand in it from a time when the umask decided, and with them what is in these."""
        for path in self.root.glob("batch_*"):
            with suppress(OSError):  # gone meanwhile, or another user's
                info = path.lstat()
                wanted = info.st_mode & (stat.S_IRWXU | self._group)
                if not stat.S_ISLNK(info.st_mode) and stat.S_IMODE(info.st_mode) != wanted:
                    path.chmod(wanted)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if self._group:
                folder.chmod(0o700 | self._group)

    def _open_new(self, path: Path) -> BinaryIO:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._group:
            os.fchmod(descriptor, 0o600 | self._group & 0o060)
        return os.fdopen(descriptor, "wb")

    def _commit(self, path: Path, parts: Iterable[bytes], *, durable: bool = True) -> int:
        size = 0
        name = path.relative_to(self.root).as_posix()
        with self.writer(name, durable=durable) as file:
            for part in parts:
                file.write(part)
                size += len(part)
        return size


def is_locked(path: str) -> bool:
    """Return True if a process that lives writes the file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def no_room_is_a_storage_error(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageError(
            f"no room to write {name}: {error.strerror}. Free some space; it goes on by itself."
        ) from None


@contextmanager
def missing_is_a_storage_error(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageError(
            f"{name} is missing from the file store: was it deleted, or is HEADRACE_FILES another folder here?"
        ) from None


async def attach(ledger: Ledger, store: FileStore) -> FileStore:
    """Return the store that the ledger names; `store` becomes it when none is named yet.

    Raises `StorageError` when the named one cannot be reached from here, or is another one under the same path.
    """
    mine = store.name
    theirs = await agreed_store(ledger, mine)
    if theirs.id == mine.id:
        return store
    root = Path(theirs.url.removeprefix("file://"))
    if (root / ".store-id").exists():
        other = FileStore(root)
        if other.id == theirs.id:
            return other
    raise StorageError(
        f"the ledger's files lie in {theirs.url} (store {theirs.id[:8]}), which is not what is seen here "
        f"({mine.url}, store {mine.id[:8]}). Share that folder with this machine, or set HEADRACE_FILES to it."
    )
