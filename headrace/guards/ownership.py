"""Ownership of files: what is read back and trusted must be ours, and what is written must be for us alone.

Trusted is what belongs to this user or to root and what nobody else may write; a symbolic link counts by its own owner and by
where it leads. The checks look at an open file, not at a name: between a look and an opening a name can be exchanged.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from headrace.errors import SettingsError, UntrustedFile

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
PRIVATE_UMASK = 0o077
ROOT = 0
MIN_SECRET = 16


def own_files_only() -> None:
    """Make everything that this process, or a child of it, writes from now on accessible to this user alone."""
    os.umask(PRIVATE_UMASK)


def check_trusted(path: Path, *, remedy: str) -> None:
    """Raise `UntrustedFile`, ending in `remedy`, unless `path` and what it leads to are ours. Raises `OSError` without it."""
    for info in (path.lstat(), path.stat()):
        _check(path, info, remedy)


def check_not_public(path: Path, name: str) -> None:
    """Raise `UntrustedFile` for a file that everybody may write, although its user named it; `name` is what names it.

    Its owner and its group are the user's business: a mounted file often is another's. Raises `OSError` without it.
    """
    info = path.stat()
    if stat.S_ISREG(info.st_mode) and info.st_mode & stat.S_IWOTH:
        raise UntrustedFile(f"{name}: {described(path, info)}, and everybody may write it: `chmod o-w {path}`.")


def read_trusted(path: Path, *, remedy: str) -> bytes:
    """Return the content of a regular file that is ours. Raises `UntrustedFile`, ending in `remedy`, and `OSError`."""
    # Not blocking: somebody's FIFO would hold us for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise UntrustedFile(f"{path} is no regular file, so it is not used: {remedy}")
        _check(path, info, remedy)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def write_private(path: Path, content: str) -> None:
    """Write `content` as the file `path`, whole or not at all, which only this user may read."""
    # A name that nobody can guess, and no link: in a folder of all users somebody may be waiting for us.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def kept_secret(file: Path) -> str:
    """Return the secret in `file`, which only this user may read; made at the first call, so that what it signs
    outlives a restart.

    Raises `UntrustedFile` for a file that others may know or may have written, `SettingsError` for one that cannot be made.
    """
    remedy = "remove it, and a new one is made."
    try:
        if not file.exists():
            # A link, not a rename: of two that make one at the same time both use the first.
            temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
            write_private(temporary, secrets.token_urlsafe(32) + "\n")
            with suppress(FileExistsError):
                os.link(temporary, file)
            temporary.unlink()
        kept = read_trusted(file, remedy=remedy).decode(errors="replace").strip()
        info = file.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedFile(f"{file} is a symbolic link, so it is not used: {remedy}") from None
        raise SettingsError(
            f"{file}, for a secret: {error.strerror}. It must be a file that this user can make."
        ) from None
    if stat.S_IMODE(info.st_mode) & FOR_OTHERS:
        raise UntrustedFile(f"{described(file, info)}, so others may know it: {remedy}")
    if len(kept) < MIN_SECRET:
        raise UntrustedFile(f"{file} holds no secret of {MIN_SECRET} characters: {remedy}")
    return kept


def make_private_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it for this user alone; one that is there stays as it is."""
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise


def make_private(folder: Path, known: Collection[str] | None = None) -> int:
    """Make `folder`, or take what is in it away from other users; returns how many modes were changed.

    `known`: the names there that are headrace's; what else stands in it is its user's, and keeps its mode, and so does the
    folder then. What was open to writing before may hold what somebody else put there: that is refused by name. Raises
    `UntrustedFile`.
    """
    make_private_folder(folder)
    info = folder.stat()
    if info.st_uid != os.geteuid():
        raise UntrustedFile(f"{described(folder, info)}: give a folder of your own with --data DIR.")
    mode = stat.S_IMODE(info.st_mode)
    if not mode & FOR_OTHERS:
        return 0  # nobody else can reach what is in it
    found = sorted(path.name for path in folder.iterdir())
    theirs = [name for name in found if known is not None and name not in known]
    if theirs and mode & WRITABLE_BY_OTHERS:
        raise UntrustedFile(
            f"{described(folder, info)}, and holds what is not headrace's (as {theirs[0]}): `chmod go-w {folder}`, or give a "
            "folder of its own with --data DIR."
        )
    if not theirs:  # first: once it is closed, nobody else can put anything below it
        folder.chmod(mode & ~FOR_OTHERS)
    changed = 0 if theirs else 1
    for path in (path for name in found if name not in theirs for path in tree_of(folder / name)):
        with suppress(FileNotFoundError):
            changed += _take_away(path)
    return changed


def tree_of(path: Path) -> Iterator[Path]:
    """Yield `path` and everything below it, each folder before what is in it; no link is followed."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            yield from tree_of(entry)


def _take_away(path: Path) -> bool:
    info = path.lstat()
    if info.st_uid not in (os.geteuid(), ROOT):
        raise UntrustedFile(
            f"{described(path, info)}, in a folder that others could write: look at it, and remove it or give another "
            "folder with --data DIR."
        )
    if stat.S_ISLNK(info.st_mode) or info.st_uid != os.geteuid() or not stat.S_IMODE(info.st_mode) & FOR_OTHERS:
        return False
    path.chmod(stat.S_IMODE(info.st_mode) & ~FOR_OTHERS)
    return True


def _check(path: Path, info: os.stat_result, remedy: str) -> None:
    is_link = stat.S_ISLNK(info.st_mode)  # the mode of a link means nothing
    if info.st_uid not in (os.geteuid(), ROOT):
        raise UntrustedFile(f"{described(path, info)}, so it is not used: {remedy}")
    if not is_link and info.st_mode & WRITABLE_BY_OTHERS:
        raise UntrustedFile(
            f"{described(path, info)}, and others may write it, so it is not used: `chmod go-w {path}`, or {remedy}"
        )


def described(path: Path, info: os.stat_result) -> str:
    """Return `path` with its owner and its mode."""
    return f"{path} belongs to {owner_name(info.st_uid)}, with the mode {stat.S_IMODE(info.st_mode):04o}"


def owner_name(uid: int) -> str:
    try:
        import pwd

        return f"the user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except (ImportError, KeyError):
        return f"uid {uid}"
