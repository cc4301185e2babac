"""The file store in an object store: a prefix of a bucket, on S3 and what speaks its protocol, Google Cloud Storage or Azure.

Credentials, region and endpoint are those that the libraries of the cloud read (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …), or
the machine's own. An object is there whole or not at all, so a put is the commit; it creates, and never replaces.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from headrace.errors import SettingsError, StorageError
from headrace.ledger.store_name import StoreName
from headrace.storage.file_store import FileStore, StoredFile, check_name, missing
from headrace.text.masking import masked
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Buffer  # pyright: ignore[reportAttributeAccessIssue]

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

BLOCK = 8 * 1024 * 1024
ONE_PUT = 16 * 1024 * 1024
"""Bytes up to which a file is sent as one request, which creates it or finds that it is there. A larger one goes in parts."""
MAX_LISTED = 1_000
"""Objects in a page of a listing."""
BOUNDLESS_MB = sys.maxsize >> 20
CLIENT: ClientConfig = {"connect_timeout": "5s", "timeout": "60s"}
RETRY: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


class ObjectFileStore(FileStore):
    """Objects below the URL of a bucket and a prefix in it (`s3://bucket/prefix`). Raises `SettingsError` for a URL that is none,
    and where the extra `s3` is not installed; `StorageError` for a bucket that cannot be reached."""

    is_near = False
    has_links = False

    def __init__(self, url: str):
        self._url = masked(url.rstrip("/"))
        try:
            from obstore.store import from_url
        except ImportError as error:
            raise SettingsError(
                f"HEADRACE_FILES {self._url}: it needs the extra `s3`: pip install 'headrace[s3]'"
            ) from error
        try:
            self._store: ObjectStore = from_url(url.rstrip("/"), client_options=client_options(), retry_config=RETRY)
        except Exception as error:  # of several types, without a common one below Exception
            raise SettingsError(f"HEADRACE_FILES {self._url}: {first_line(error)}") from None
        mark = ".store-id"
        if not self.exists(mark):
            with suppress(FileExistsError):  # another process was faster
                self.commit(mark, [secrets.token_hex(16).encode()])
        self.id = self.read(mark).decode()

    @property
    def name(self) -> StoreName:
        return StoreName(self._url, self.id)

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[BinaryIO]:
        check_name(name)
        # The parts of an upload that a crash has cut are nowhere to be seen, but cost until the bucket's own rule removes them:
        # so it begins only when all is there.
        with tempfile.SpooledTemporaryFile(max_size=ONE_PUT) as file:
            try:
                yield cast("BinaryIO", file)
                file.flush()
            except OSError as error:
                if type(error) is OSError:
                    raise StorageError(
                        f"no room to write {name} in {tempfile.gettempdir()}: {error.strerror}"
                    ) from None
                raise
            size = file.tell()
            file.seek(0)
            self._put(name, file, size)

    def _put(self, name: str, file: Any, size: int) -> None:
        import obstore

        with self._problems(name):
            if size <= ONE_PUT:
                obstore.put(self._store, name, file.read(), mode="create", use_multipart=False)
                return
        # No store creates an object of parts only where there is none. Names have the epoch of their writer, so whoever writes
        # one meanwhile writes the same.
        if self.exists(name):
            raise FileExistsError(name)
        with self._problems(name):
            obstore.put(self._store, name, file, use_multipart=True, chunk_size=BLOCK, max_concurrency=4)

    def open(self, name: str) -> BinaryIO:
        return io.BufferedReader(ObjectReader(self, name, self.size(name)), BLOCK)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        import obstore

        check_name(name)
        if length is None:
            length = self.size(name) - offset
        if length <= 0:
            return b""
        with self._problems(name):
            return obstore.get_range(self._store, name, start=offset, length=length).to_bytes()

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except MissingObject:
            return False
        return True

    def size(self, name: str) -> int:
        import obstore

        with self._problems(check_name(name)):
            return obstore.head(self._store, name)["size"]

    def link(self, source: str, name: str) -> None:
        import obstore

        with self._problems(source):
            obstore.copy(self._store, check_name(source), check_name(name))

    def remove(self, name: str) -> None:
        import obstore

        check_name(name)
        names = [file.name for file in self.files(name)]
        for first in range(0, len(names), MAX_LISTED):
            with self._problems(name):
                obstore.delete(self._store, names[first : first + MAX_LISTED])
        with suppress(MissingObject), self._problems(name):
            obstore.delete(self._store, name)

    def files(self, folder: str = "") -> Iterator[StoredFile]:
        import obstore

        with self._problems(folder):
            for page in obstore.list(self._store, check_name(folder) or None, chunk_size=MAX_LISTED):
                for found in page:
                    if not found["path"].rpartition("/")[2].startswith("."):
                        yield StoredFile(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))

    def folders(self, folder: str = "") -> Iterator[str]:
        import obstore

        with self._problems(folder):
            found = obstore.list_with_delimiter(self._store, check_name(folder) or None)
        yield from sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def changed_s(self, folder: str) -> float:
        return max((file.modified_ms for file in self.files(folder)), default=0) / 1000

    def abandoned(self, folder: str, age_s: float) -> Iterator[str]:
        before_ms = (time.time() - age_s) * 1000
        for file in self.files(folder):
            if file.modified_ms < before_ms and "/" not in file.name.removeprefix(f"{folder}/"):
                yield file.name

    def remove_old(self, folder: str, *, age_s: float, unfinished_s: float) -> int:
        old = list(self.abandoned(folder, age_s))
        for name in old:
            self.remove(name)
        return len(old)

    def free_mb(self) -> int:
        return BOUNDLESS_MB

    @contextmanager
    def _problems(self, name: str) -> Iterator[None]:
        """Raise what the store says as errors of ours. Its own texts have the URL of the request, and may hold a signature."""
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            NotFoundError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        try:
            yield
        except (AlreadyExistsError, FileExistsError):
            raise FileExistsError(name) from None
        except (NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise StorageError(f"{self._url}: there is no such bucket") from None
            raise MissingObject(str(missing(name))) from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            raise StorageError(
                f"{self._url}: no permission for {quoted(name) if name else 'it'}: do the credentials of this process allow it "
                "to list, read, write and delete there?"
            ) from None
        except BaseError as error:
            raise StorageError(f"{self._url}: {quoted(name)} cannot be reached: {first_line(error)}") from None


def client_options() -> ClientConfig:
    """Return the bounds of requests; the variable that allows plain HTTP (an emulator's) counts only without other options."""
    if os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1"):
        return {**CLIENT, "allow_http": True}
    return CLIENT


class MissingObject(StorageError):
    """An object that is not there."""


class ObjectReader(io.RawIOBase):
    """An object as a file, read in ranges."""

    def __init__(self, store: ObjectFileStore, name: str, size: int):
        self._store = store
        self._name = name
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._store.read(self._name, self._at, min(len(view), self._size - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def first_line(error: Exception) -> str:
    """Return what an error of the library says in its first line, without the URL of the request."""
    line = masked((str(error).strip() or type(error).__name__).splitlines()[0])
    return line[:200]
