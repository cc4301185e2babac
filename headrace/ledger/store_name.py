"""The name of the file store of the ledger's batches: the first process to use it sets it."""

from __future__ import annotations

import msgspec

from headrace.ledger.script import Ledger

FIELD = "default"


class StoreName(msgspec.Struct, frozen=True):
    """The store as the ledger knows it: its location, and the id inside it."""

    url: str
    id: str


async def agreed_store(ledger: Ledger, mine: StoreName) -> StoreName:
    """Return the store that the ledger names, which is set to `mine` when it named none. Raises `msgspec.MsgspecError` for
    a malformed name."""
    await ledger.client.hsetnx(ledger.keys.store, FIELD, msgspec.json.encode(mine).decode())
    return parse_store(await ledger.client.hget(ledger.keys.store, FIELD))


def parse_store(raw: bytes) -> StoreName:
    return msgspec.json.decode(raw, type=StoreName)
