"""Results that go to an object store (`--out s3://bucket/rows.parquet`): written to a file of this machine as any others, then
put there whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from headrace.batches.export import errors_beside
from headrace.batches.object_inputs import ObjectAddress, exists
from headrace.errors import InputError
from headrace.storage.object_store import BLOCK, ONE_PUT
from headrace.text.masking import masked


class ObjectOut:
    """An address for results. `path` is the file that they are written to before; `close` removes it. Raises `InputError`."""

    def __init__(self, url: str):
        self.url = masked(url)
        self._address = ObjectAddress.of(url)
        if not self._address.key or url.endswith("/"):
            raise InputError(f"{self.url}: names no object; write a name such as {self.url.rstrip('/')}/rows.parquet")
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-results-"))
        self.path = self.folder / self._address.scheme / self._address.bucket / self._address.key
        self.path.parent.mkdir(parents=True)

    def check_free(self) -> None:
        """Raise `InputError` when there is an object under the name of the results, or of the errors beside them."""
        for path in self._both():
            with self._address.errors(self._key(path)):
                if exists(*self._address.opened(), self._key(path)):
                    name = f"{masked(self._address.root)}/{self._key(path)}"
                    raise InputError(f"{name}: exists already; give --force to replace it, or another name")

    def upload(self, *, overwrite: bool) -> None:
        """Put what was written there. Without `overwrite` nothing is replaced, also of what has appeared since: raises
        `InputError`."""
        written = [path for path in self._both() if path.exists()]
        if written and not overwrite:
            self.check_free()
        for path in reversed(written):  # the results last: where they are, all is
            self._put(path, overwrite=overwrite)

    def _put(self, path: Path, *, overwrite: bool) -> None:
        key = self._key(path)
        with self._address.errors(key):
            obstore, bucket = self._address.opened()
            if overwrite or path.stat().st_size > ONE_PUT:
                obstore.put(bucket, key, path, chunk_size=BLOCK)
                return
            try:
                obstore.put(bucket, key, path.read_bytes(), mode="create")
            except obstore.exceptions.AlreadyExistsError:
                raise InputError(
                    f"{masked(self._address.root)}/{key}: has appeared meanwhile; it was left alone"
                ) from None

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _both(self) -> tuple[Path, Path]:
        return self.path, errors_beside(self.path)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder / self._address.scheme / self._address.bucket).as_posix()
