"""The file store in an object store (S3, Google Cloud, Azure), by obstore (the extra `objects`). Objects are whole or not there,
so that nothing is renamed or linked: a commit is one request that refuses to replace what is there.

Credentials and the endpoint are those of the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
"""

from __future__ import annotations

import io
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from headrace.errors import StorageError
from headrace.ledger.store_name import StoreName
from headrace.storage.local import FileStore, StoredFile, no_room_is_a_storage_error
from headrace.text.masking import masked
from headrace.text.quoting import quoted, shortened

BLOCK = 8 * 1024 * 1024
"""Bytes that are read at a time; a stream of the library's is slower."""
IN_MEMORY = 8 * 1024 * 1024
SINGLE_PUT = 64 * 1024 * 1024
"""Bytes up to which a file is put by one request, which is refused when it is there; beyond, in parts."""
DELETED_AT_ONCE = 500
RETRY_S = 15.0
WRITER = "headrace-commit"
"""The attribute of an object that tells who has put it."""
ROOMY_MB = sys.maxsize >> 20
RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=RETRY_S)}
CLIENT = {"timeout": "60s", "connect_timeout": "5s"}


class MissingObject(StorageError):
    """An object, or its bucket, is not there."""


class ObjectStore(FileStore):
    """Objects below a URL such as `s3://bucket/prefix`, by names such as `batch_x/input.jsonl`. Raises `StorageError` where it
    cannot be reached, or may not be used. Methods block on the network: call them in a thread."""

    has_links = False

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.root = Path()  # there is none: nothing of an object store has a path
        self._obstore = library(url)
        try:
            self._store: Any = self._obstore.store.from_url(
                self.url, retry_config=RETRIES, client_options={**CLIENT, "allow_http": True}
            )
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            raise StorageError(f"HEADRACE_FILES={masked(url)}: {first_line(error)}") from None
        with suppress(FileExistsError):
            if not self.exists(".store-id"):
                self.commit(".store-id", [secrets.token_hex(16).encode()])
        self.id = self.read(".store-id").decode()

    @property
    def location(self) -> str:
        return masked(self.url)

    @property
    def name(self) -> StoreName:
        return StoreName(self.url, self.id)

    def path(self, name: str) -> Path:
        raise StorageError(f"{quoted(name)} lies in {self.location}, where nothing has a path")

    def commit(self, name: str, parts: Iterable[bytes], *, durable: bool = True) -> int:
        """Write `parts` as the object `name` and return its size. Raises `FileExistsError` when it was committed before."""
        size = 0
        with self.writer(name, durable=durable) as file:
            for part in parts:
                file.write(part)
                size += len(part)
        return size

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[BinaryIO]:
        """Yield a file of this machine's, of which an object is made at the end of a block that raises nothing."""
        checked(name)
        with no_room_is_a_storage_error(name), tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            yield cast("BinaryIO", file)
            size = file.tell()
            file.seek(0)
            self._put(name, cast("BinaryIO", file), size)

    def _put(self, name: str, file: BinaryIO, size: int) -> None:
        if size > SINGLE_PUT:
            # The requests of an upload in parts cannot refuse to replace; names of large files have their attempt in them.
            if self.exists(name):
                raise FileExistsError(name)
            with self._errors(name):
                self._obstore.put(self._store, name, file, use_multipart=True, chunk_size=BLOCK)
            return
        token = secrets.token_hex(8)
        data = file.read()
        try:
            with self._errors(name):
                self._obstore.put(self._store, name, data, mode="create", attributes={WRITER: token})
        except FileExistsError:
            # The request may have been sent again because its answer was lost.
            if self._token_of(name) != token:
                raise

    def _token_of(self, name: str) -> str:
        with self._errors(name):
            attributes: Any = self._obstore.get(self._store, name, options={"head": True}).attributes
            return str(attributes.get(WRITER, ""))

    def abandoned(self, folder: str, age_s: float) -> Iterator[str]:
        before = time.time() - age_s
        yield from (file.name for file in self.listing(folder) if file.written_s < before)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        checked(name)
        if length == 0:
            return b""
        with self._errors(name):
            try:
                if length is not None:
                    return bytes(self._obstore.get_range(self._store, name, start=offset, length=length))
                options = {"range": {"offset": offset}} if offset else None
                return bytes(self._obstore.get(self._store, name, options=options).bytes())
            except self._obstore.exceptions.BaseError:
                if offset and offset >= self.size(name):  # behind its end
                    return b""
                raise

    def lines(self, name: str) -> Iterator[bytes]:
        with self._errors(name), self.open(name) as file:
            yield from file

    def open(self, name: str) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", _Object(self, name)), BLOCK))

    def exists(self, name: str) -> bool:
        try:
            with self._errors(name):
                self._head(name)
        except MissingObject:
            return False
        return True

    def size(self, name: str) -> int:
        try:
            with self._errors(name):
                return self._head(name)["size"]
        except MissingObject as error:
            raise FileNotFoundError(str(error)) from None

    def _head(self, name: str) -> Any:
        return self._obstore.head(self._store, checked(name))

    def link(self, source: str, name: str) -> None:
        """Copy `source` within the store."""
        with self._errors(source):
            self._obstore.copy(self._store, checked(source), checked(name))

    def remove(self, name: str) -> None:
        """Remove a file, or all below a folder. Idempotent."""
        with self._errors(name), suppress(FileNotFoundError):
            found = [checked(name)]
            for group in self._obstore.list(self._store, prefix=name, chunk_size=DELETED_AT_ONCE):
                found += [entry["path"] for entry in group]
            for first in range(0, len(found), DELETED_AT_ONCE):
                self._obstore.delete(self._store, found[first : first + DELETED_AT_ONCE])

    def listing(self, folder: str) -> list[StoredFile]:
        with self._errors(folder):
            entries = self._obstore.list_with_delimiter(self._store, folder or None)["objects"]
        return [
            StoredFile(entry["path"], entry["size"], entry["last_modified"].timestamp())
            for entry in entries
            if not entry["path"].rpartition("/")[2].startswith(".")
        ]

    def folders(self, folder: str = "") -> list[str]:
        with self._errors(folder):
            return sorted(self._obstore.list_with_delimiter(self._store, folder or None)["common_prefixes"])

    def written_s(self, folder: str) -> float:
        return max((file.written_s for file in self.listing(folder)), default=0.0)

    def sync(self, folder: str) -> None:
        """Do nothing: what was committed is durable."""

    def free_mb(self) -> int:
        """Return more than anybody asks for: nobody knows."""
        return ROOMY_MB

    def take_away_from_others(self) -> None:
        """Do nothing: who may read a bucket is for its owner to say."""

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Tell the library's errors as `FileExistsError` and `StorageError`."""
        errors = self._obstore.exceptions
        try:
            yield
        except errors.AlreadyExistsError:
            raise FileExistsError(f"{self.location}/{name}") from None
        except FileNotFoundError:
            raise MissingObject(
                f"{name} is missing from the file store {self.location}: was it deleted, is its bucket there, or is "
                "HEADRACE_FILES another one here?"
            ) from None
        except errors.BaseError as error:
            raise StorageError(f"the file store {self.location} cannot be used: {first_line(error)}") from None


class _Object(io.RawIOBase):
    """An object as a file that is read from anywhere."""

    def __init__(self, store: ObjectStore, name: str):
        self._store = store
        self._name = name
        self._size = store.size(name)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._store.read(self._name, self._at, min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def library(url: str) -> Any:
    """Return the module `obstore`. Raises `StorageError` when the extra is missing."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise StorageError(
            f"HEADRACE_FILES={masked(url)}: this needs obstore ({error}): pip install 'headrace[objects]'"
        ) from None
    return obstore


def checked(name: str) -> str:
    """Return `name`. Raises `StorageError` for one that leads out of the store."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise StorageError(f"{quoted(name)} is not a name in the file store")
    return name


def first_line(error: BaseException) -> str:
    """Return what the library says, without the inner workings below it and the addresses' secrets."""
    return shortened(masked(str(error).partition("\n")[0]))
