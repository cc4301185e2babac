"""Stored responses (OpenAI's Responses API) in the file store: one file of what was asked, one of what came of it.

    responses/<tenant>/kept/ab/ab….json       the request, its input and the conversation before it; where the answer was
                                              awaited on the connection, what came of it as well
    responses/<tenant>/kept/ab/ab….end.json   what came of it, written by who first saw the end
    responses/<tenant>/brief/…                the same of what was asked for with `store: false`

A file is named by the letters that response and job have in common, so that any process finds it again. Both are written
once. Of one that was not answered yet the job is the truth.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from headrace.errors import StorageError
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNREADABLE

ROOT = "responses"
BRIEF_S = 3600.0
"""Lifetime of a response that was asked for with `store: false`."""
LETTERS = re.compile(r"[a-z2-7]{26}")
KEPT, BRIEF = "kept", "brief"
FORGOTTEN_S = 3600.0
"""Age at which a file that was never committed is nobody's."""
JsonObject = dict[str, Any]


class ResponseEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a response: the whole object, and the provider's own form of its reasoning (`encrypted_content`)."""

    response: JsonObject
    sealed: str | None = None


class StoredResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a response was asked with. `input` are its own items, `earlier` those of the conversation before; `created_s` is
    in seconds since 1970. `caller` is whom the request came from, as far as that was known. `end` is there once it has ended."""

    request: JsonObject
    created_s: int
    input: list[JsonObject] = []
    earlier: list[JsonObject] = []
    is_kept: bool = True
    caller: str = ""
    end: ResponseEnd | None = None
    v: int = msgspec.field(default=1)


class ResponseStore:
    """The responses of one tenant. `ttl_s` is the lifetime of those that are kept. Methods block on the disk."""

    def __init__(self, files: FileStore, tenant: str, ttl_s: float):
        self._files = files
        self._tenant = tenant
        self._ttl_s = ttl_s

    @property
    def is_near(self) -> bool:
        return self._files.is_near

    def save(self, letters: str, encoded: bytes, *, is_kept: bool, durable: bool) -> None:
        """Write an encoded `StoredResponse`; the first one stays. It survives a power loss if it is to be `durable`."""
        self._write(self._name(letters, is_kept), encoded, durable=durable)

    def finish(self, letters: str, encoded: bytes, *, is_kept: bool) -> None:
        """Write what came of a response, an encoded `ResponseEnd`; the first one stays. Nothing of one that was removed."""
        if self._files.exists(self._name(letters, is_kept)):
            self._write(self._name(letters, is_kept, "end.json"), encoded, durable=False)

    def load(self, letters: str) -> StoredResponse | None:
        """Return a response with its end, if that was written; None for an unknown one, and for one past its lifetime."""
        if LETTERS.fullmatch(letters) is None:
            return None
        for is_kept in (True, False):
            stored = self._read(self._name(letters, is_kept), StoredResponse)
            if stored is None:
                continue
            if stored.created_s + (self._ttl_s if is_kept else BRIEF_S) < time.time():
                return None
            if stored.end is None:
                end = self._read(self._name(letters, is_kept, "end.json"), ResponseEnd)
                stored = msgspec.structs.replace(stored, end=end)
            return stored
        return None

    def remove(self, letters: str) -> None:
        """Remove a response. Idempotent."""
        for is_kept in (True, False):
            for suffix in ("json", "end.json"):
                self._files.remove(self._name(letters, is_kept, suffix))

    def _name(self, letters: str, is_kept: bool, suffix: str = "json") -> str:
        return f"{ROOT}/{self._tenant}/{KEPT if is_kept else BRIEF}/{letters[:2]}/{letters}.{suffix}"

    def _write(self, name: str, content: bytes, *, durable: bool) -> None:
        with suppress(FileExistsError):
            self._files.commit(name, [content], durable=durable)

    def _read(self, name: str, type: type[Any]) -> Any:
        try:
            return msgspec.json.decode(self._files.read(name), type=type)
        except (StorageError, *UNREADABLE):  # what is cut off by a power loss was never answered with
            return None


def folders(files: FileStore) -> Iterator[tuple[str, float]]:
    """Yield every folder of responses, with the lifetime of those in it if it is fixed, else 0."""
    for tenant in files.folders(ROOT):
        for name, lifetime_s in ((KEPT, 0.0), (BRIEF, BRIEF_S)):
            for folder in files.folders(f"{ROOT}/{tenant}/{name}"):
                yield f"{ROOT}/{tenant}/{name}/{folder}", lifetime_s


def sweep(files: FileStore, folder: str, lifetime_s: float) -> int:
    """Remove the responses of one folder that are past `lifetime_s`, and what a killed process has left; return how many
    files that were."""
    return files.remove_old(folder, age_s=lifetime_s, unfinished_s=FORGOTTEN_S)
