"""The file store in a local folder.

Whatever the umask, files and folders in it are for this user alone; where the store's own folder lets a group write, for
that group as well.

A commit is atomic and durable: write to a temporary name, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from headrace.errors import StorageError
from headrace.guards.ownership import make_private_folder
from headrace.ledger.store_name import StoreName
from headrace.storage.file_store import FileStore, StoredFile, check_name, missing

BLOCK = 1024 * 1024
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class LocalFileStore(FileStore):
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
                self.commit(mark.name, [secrets.token_hex(16).encode()])
        self.id = mark.read_text()

    @property
    def name(self) -> StoreName:
        return StoreName(self.root.resolve().as_uri(), self.id)

    def path(self, name: str) -> Path:
        """Return the path of `name`. Raises `StorageError` for a name that leads out of the store."""
        return self.root / check_name(name)

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[BinaryIO]:
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
        with self.open(name) as file:
            file.seek(offset)
            return file.read() if length is None else file.read(length)

    def open(self, name: str) -> BinaryIO:
        try:
            return self.path(name).open("rb", buffering=BLOCK)
        except FileNotFoundError:
            raise missing(name) from None

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def size(self, name: str) -> int:
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            raise missing(name) from None

    def link(self, source: str, name: str) -> None:
        # A hard link, or a copy where links are not possible.
        path = self.path(name)
        self._make_folder(path.parent)
        try:
            os.link(self.path(source), path)
        except OSError:
            self.commit(name, self.lines(source))

    def remove(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def files(self, folder: str = "") -> Iterator[StoredFile]:
        walked = os.walk(self.path(folder))  # `Path.rglob` fails on a folder that is removed meanwhile
        for path in sorted(Path(at, name) for at, _, names in walked for name in names if not name.startswith(".")):
            if not path.is_file():
                continue
            with suppress(FileNotFoundError):  # removed meanwhile
                info = path.stat()
                yield StoredFile(
                    str(path.relative_to(self.root)), info.st_size, int(info.st_mtime * 1000), info.st_nlink
                )

    def folders(self, folder: str = "") -> Iterator[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(self.path(folder).iterdir()):
                if path.is_dir() and not path.is_symlink():
                    yield path.name

    def changed_s(self, folder: str) -> float:
        try:
            return self.path(folder).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove_old(self, folder: str, *, age_s: float, unfinished_s: float) -> int:
        removed, now_s = 0, time.time()
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path(folder)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    limit_s = unfinished_s if entry.name.startswith(".") else age_s
                    is_file = entry.is_file(follow_symlinks=False)
                    if is_file and now_s - entry.stat(follow_symlinks=False).st_mtime > limit_s:
                        Path(entry.path).unlink()
                        removed += 1
        return removed

    def sync(self, folder: str) -> None:
        sync_folder(self.path(folder))

    def free_mb(self) -> int:
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
