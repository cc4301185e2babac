"""Inputs in an object store (`s3://bucket/in/*.parquet`): what they name is copied into a folder of this machine first, so that
every format is read as from a disk, twice where that is needed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import finalize

from headrace.errors import InputError
from headrace.storage.object_store import BLOCK, RETRY, client_options, first_line
from headrace.text.masking import masked

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
SAME = {"s3a": "s3", "azure": "az", "abfs": "az", "abfss": "az"}
"""Schemes that lead to the same objects as another one."""
PATTERN = re.compile(r"[*?\[]")
MIN_FREE = 512 << 20
"""Bytes that are left free on the disk of the copies."""


class CopiedInputs:
    """A folder with copies of what `sources` name, gone with this object; `paths` are the copies, a folder for a folder. Raises
    `InputError`."""

    def __init__(self, sources: Sequence[str]):
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-inputs-"))
        finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.objects = list[ObjectAddress]()
        self.paths = [path for source in sources for path in self._copied(source)]

    def named(self, text: str) -> str:
        """Return a complaint with the inputs' own names in place of those of the copies."""
        for scheme in SCHEMES:
            text = text.replace(f"{self._folder}/{scheme}/", f"{scheme}://")
        return text

    def _copied(self, source: str) -> Iterator[Path]:
        address = ObjectAddress.of(source)
        target = self._folder / address.scheme / address.bucket
        names = objects_of(address, source)
        self.objects += [address._replace(key=name) for name in names]
        paths = [copied(address, name, target) for name in names]
        is_folder = not PATTERN.search(address.key) and paths != [target / address.key]
        yield from [target / address.key] if is_folder else paths


class ObjectAddress(NamedTuple):
    """The scheme and the bucket of an address, and the key in it: of an object, a folder or a pattern."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, source: str) -> ObjectAddress:
        parts = urlsplit(source.replace("?", "%3F").replace("#", "%23"))
        key = parts.path.replace("%3F", "?").replace("%23", "#").strip("/")
        if not parts.netloc or {".", ".."} & {parts.netloc, *key.split("/")}:
            raise InputError(f"{masked(source)}: names no object; write {parts.scheme}://BUCKET/NAME")
        return cls(parts.scheme, parts.netloc, "/".join(part for part in key.split("/") if part))

    def is_same(self, other: ObjectAddress) -> bool:
        """Return True for two addresses of one object, however they are written."""
        return self._canonical() == other._canonical()

    def _canonical(self) -> tuple[str, str, str]:
        bucket = self.bucket.rpartition("@")[0] or self.bucket  # abfss://container@account.dfs.core.windows.net
        return SAME.get(self.scheme, self.scheme), bucket, self.key

    @property
    def root(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    def opened(self) -> tuple[Any, Any]:
        """Return the library, and the bucket."""
        obstore = library(self.root)
        try:
            return obstore, obstore.store.from_url(self.root, retry_config=RETRY, client_options=client_options())
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise InputError(f"{masked(self.root)}: {first_line(error)}") from None

    def errors(self, name: str, done: str = "read") -> AbstractContextManager[None]:
        return told_as_input_errors(f"{masked(self.root)}/{name}", self.opened()[0], done)


def copied(address: ObjectAddress, name: str, folder: Path) -> Path:
    """Copy an object into a folder, and return the path of the copy. Raises `InputError`."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{masked(address.root)}/{name}: is no name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with address.errors(name), path.open("wb") as file:
        obstore, store = address.opened()
        size = obstore.head(store, name)["size"]
        if shutil.disk_usage(path.parent).free < size + MIN_FREE:
            raise InputError(f"{masked(address.root)}/{name}: has {size >> 20} MiB, for which {folder} has no room")
        for offset in range(0, size, BLOCK):
            file.write(obstore.get_range(store, name, start=offset, length=min(BLOCK, size - offset)))
    return path


@contextmanager
def told_as_input_errors(name: str, obstore: Any, done: str = "read") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file, or no such bucket") from None
    except obstore.exceptions.BaseError as error:
        if "NoSuchBucket" in str(error):
            raise InputError(f"{name}: cannot be {done}: there is no such bucket") from None
        raise InputError(f"{name}: cannot be {done}: {first_line(error)}") from None


def library(url: str) -> Any:
    """Return the module `obstore`. Raises `InputError` where the extra is missing."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise InputError(f"{masked(url)}: this needs obstore ({error}): pip install 'headrace[s3]'") from None
    return obstore


def objects_of(address: ObjectAddress, source: str) -> list[str]:
    """Return the names that a source stands for: an object, those that a pattern matches, those below a folder."""
    key = address.key
    beginning = PATTERN.split(key)[0].rpartition("/")[0] if PATTERN.search(key) else key
    with address.errors(key):
        obstore, store = address.opened()
        if not PATTERN.search(key) and key and exists(obstore, store, key):
            return [key]
        names = sorted(
            entry["path"] for group in obstore.list(store, prefix=beginning or None) for entry in group if entry["size"]
        )
    if PATTERN.search(key):
        names = [name for name in names if matches(name, key)]
    if not names:
        raise InputError(f"{masked(source)}: there is no such file, and none below it")
    return names


def matches(name: str, pattern: str) -> bool:
    """Return True for a name that a pattern matches; `*` does not go beyond a slash, `**` does."""
    parts, wanted = name.split("/"), pattern.split("/")
    if "**" in wanted:
        at = wanted.index("**")
        rest = "/".join(wanted[at + 1 :]) or "*"  # at the end it stands for all files below
        return matches("/".join(parts[:at]), "/".join(wanted[:at])) and any(
            matches("/".join(parts[start:]), rest) for start in range(at, len(parts))
        )
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def exists(obstore: Any, store: Any, name: str) -> bool:
    try:
        obstore.head(store, name)
    except FileNotFoundError:
        return False
    return True
