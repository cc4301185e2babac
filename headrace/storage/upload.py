"""An upload: the content of a file as it comes, invisible until it is committed, and gone when its process dies."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from hashlib import sha256

from headrace.storage.file_store import FileStore
from headrace.storage.local import no_room_is_a_storage_error


class Abandoned(Exception):
    """The upload ends without a file."""


class Upload:
    """A file of the store that is being written. Its methods block: call them in a thread."""

    def __init__(self, store: FileStore, name: str):
        self._name = name
        self._stack = ExitStack()
        self._file = self._stack.enter_context(store.writer(name))
        self._digest = sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, pieces: Iterable[bytes | bytearray]) -> None:
        """Append `pieces`. Raises `StorageError` when there is no room."""
        with no_room_is_a_storage_error(self._name):
            for piece in pieces:
                self._file.write(piece)
                self._digest.update(piece)
                self.size += len(piece)

    def commit(self) -> None:
        """Make the file durable under its name. Raises `StorageError` when there is no room."""
        self._stack.close()

    def abort(self) -> None:
        """Remove what was written. Idempotent, and nothing after `commit`."""
        abandoned = Abandoned()
        with suppress(Abandoned):
            self._stack.__exit__(Abandoned, abandoned, None)
            self._stack = ExitStack()
