"""Results that go to an object store (`--out s3://bucket/rows.parquet`): written to a file of this machine as any others, then
put there whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace.batches.inputs.object_inputs import ObjectAddress, copied, exists
from headrace.batches.outputs.export import errors_beside
from headrace.errors import InputError
from headrace.storage.object_store import BLOCK, ONE_PUT, first_line
from headrace.text.masking import masked


class ObjectOut:
    """An address for results. `path` is the file that they are written to before; `close` removes it. Raises `InputError`."""

    def __init__(self, url: str):
        self.url = masked(url)
        self._address = ObjectAddress.of(url)
        if not self._address.key or url.endswith("/"):
            raise InputError(f"{self.url}: names no object; write a name such as {self.url.rstrip('/')}/rows.parquet")
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-results-"))
        self.scheme = self._address.scheme
        self.path = self._below(self.folder)
        self.path.parent.mkdir(parents=True)
        self.overwrite = False
        """True when it is known that what is there may be replaced."""
        self.batch_id = "ID"
        """The batch whose results these are, for the way back to them."""

    def check_is_no_input(self, inputs: Iterable[Any]) -> None:
        """Raise `InputError` when the results, or the errors beside them, would replace one of `inputs`."""
        for path in self._both():
            own = self._address._replace(key=self._key(path))
            for source in inputs:
                if isinstance(source, ObjectAddress) and own.is_same(source):
                    raise InputError(
                        f"{self.name_of(path)}: is the same object as {masked(source.root)}/{source.key}, which is read; give "
                        "results another name"
                    )

    def check_bucket(self) -> None:
        """Raise `InputError` for a bucket that is not there: before anything is paid. One that may be written to alone passes."""
        obstore, bucket = self._address.opened()
        try:
            next(iter(obstore.list(bucket, prefix=self._address.key, chunk_size=1)), None)
        except FileNotFoundError:
            raise InputError(f"{self.url}: there is no such bucket") from None
        except obstore.exceptions.PermissionDeniedError:
            return
        except obstore.exceptions.BaseError as error:
            if "NoSuchBucket" in str(error):
                raise InputError(f"{self.url}: there is no such bucket") from None
            raise InputError(f"{self.url}: cannot be written: {first_line(error)}") from None

    def occupied(self) -> Path | None:
        """Return the name under which there is an object, of the results or of the errors beside them; None where both are
        free."""
        for path in self._both():
            with self._address.errors(self._key(path)):
                if exists(*self._address.opened(), self._key(path)):
                    return path
        return None

    def check_free(self, remedy: str = "give --force to replace it, or another name") -> None:
        """Raise `InputError` when there is an object under the name of the results, or of the errors beside them."""
        if (path := self.occupied()) is not None:
            raise InputError(f"{self.name_of(path)}: exists already; {remedy}")

    def fetched(self) -> Path:
        """Copy what is there, and return the path of the results' copy, with that of the errors beside it."""
        below = self.folder / "there"
        for path in self._both():
            if exists(*self._address.opened(), self._key(path)):
                copied(self._address, self._key(path), below / self._address.scheme / self._address.bucket)
        return self._below(below)

    def upload(self, *, overwrite: bool = False) -> None:
        """Put what was written there. Without `overwrite` nothing is replaced, also of what has appeared since: raises
        `InputError`. Errors of an earlier run do not stay beside results that have none."""
        overwrite = overwrite or self.overwrite
        if not self.path.exists():
            return
        written = [path for path in self._both() if path.exists()]
        if not overwrite:
            self.check_free()
        for path in reversed(written):  # the results last: where they are, all is
            self._put(path, overwrite=overwrite)
        if overwrite and len(written) == 1:
            self._remove(errors_beside(self.path))

    def _put(self, path: Path, *, overwrite: bool) -> None:
        key = self._key(path)
        with self._address.errors(key, "written"):
            obstore, bucket = self._address.opened()
            if overwrite or path.stat().st_size > ONE_PUT:
                obstore.put(bucket, key, path, chunk_size=BLOCK)
                return
            try:
                obstore.put(bucket, key, path.read_bytes(), mode="create")
            except obstore.exceptions.AlreadyExistsError:
                raise InputError(f"{self.name_of(path)}: has appeared meanwhile; it was left alone") from None

    def _remove(self, path: Path) -> None:
        with self._address.errors(self._key(path), "removed"):
            obstore, bucket = self._address.opened()
            if exists(obstore, bucket, self._key(path)):
                obstore.delete(bucket, self._key(path))

    def named(self, text: str) -> str:
        """Return a complaint with addresses in place of the files of this machine."""
        for folder in (self.folder, self.folder / "there"):
            text = text.replace(f"{folder}/{self.scheme}/", f"{self.scheme}://")
        return text

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _both(self) -> tuple[Path, Path]:
        return self.path, errors_beside(self.path)

    def _below(self, folder: Path) -> Path:
        return folder / self._address.scheme / self._address.bucket / self._address.key

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder / self._address.scheme / self._address.bucket).as_posix()

    def name_of(self, path: Path) -> str:
        """Return the address of what lies in `path` before."""
        return f"{masked(self._address.root)}/{self._key(path)}"
