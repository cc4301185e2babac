"""Which file store lies at an address, and which one is the ledger's."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import unquote

from headrace.errors import SettingsError, StorageError
from headrace.ledger.script import Ledger
from headrace.ledger.store_name import StoreName, agreed_store
from headrace.storage.file_store import FileStore
from headrace.text.masking import masked
from headrace.text.object_urls import OBJECT_URL

URL = re.compile("[a-z][a-z0-9+.-]*://")


def is_url(address: str) -> bool:
    """Return True for the address of an object store, False for a folder's."""
    return URL.match(address) is not None and not address.startswith("file://")


def open_store(address: str) -> FileStore:
    """Return the store at `address`, a folder or a URL such as `s3://bucket/prefix`. Raises `StorageError`, and
    `SettingsError` for another URL."""
    if is_url(address):
        if not OBJECT_URL.match(address):
            raise SettingsError(
                f"HEADRACE_FILES {masked(address)}: is neither a folder nor s3://BUCKET/PREFIX (gs://, az://)"
            )
        from headrace.storage.object_store import ObjectFileStore  # with it comes obstore

        return ObjectFileStore(address)
    from headrace.storage.local import LocalFileStore

    return LocalFileStore(Path(unquote(address.removeprefix("file://")) if address.startswith("file://") else address))


async def attach(ledger: Ledger, address: str) -> FileStore:
    """Return the store that the ledger names; the one at `address` becomes it when none is named yet.

    Raises `StorageError` when the named one cannot be reached from here, or is another one under the same address.
    """
    store = await asyncio.to_thread(open_store, address)
    mine = store.name
    theirs = await agreed_store(ledger, mine)
    if theirs.id == mine.id:
        return store
    if other := await asyncio.to_thread(_reached, theirs):
        return other
    raise StorageError(
        f"the ledger's files lie in {theirs.url} (store {theirs.id[:8]}), which is not what is seen here "
        f"({mine.url}, store {mine.id[:8]}). Share that with this machine, or set HEADRACE_FILES to it."
    )


def _reached(named: StoreName) -> FileStore | None:
    """Return the store of this name, if it can be reached from here. A folder is not made for it."""
    path = Path(unquote(named.url.removeprefix("file://")))
    if named.url.startswith("file://") and not (path / ".store-id").exists():
        return None
    store = open_store(named.url)
    return store if store.name.id == named.id else None
