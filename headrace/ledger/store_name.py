"""The file store of the ledger's batches, by name: who finds none named gives the name."""

from __future__ import annotations

import msgspec

from headrace.ledger.script import Ledger

FIELD = "default"


class StoreName(msgspec.Struct, frozen=True):
    """The store as the ledger knows it: where it is, and the id inside it."""

    url: str
    id: str


async def agreed_store(ledger: Ledger, mine: StoreName) -> StoreName:
    """Return the store that the ledger names; `mine` from now on, when it named none. Raises `msgspec.MsgspecError` for
    no name."""
    await ledger.client.hsetnx(ledger.keys.store, FIELD, msgspec.json.encode(mine).decode())
    return parse_store(await ledger.client.hget(ledger.keys.store, FIELD))


def parse_store(raw: bytes) -> StoreName:
    return msgspec.json.decode(raw, type=StoreName)
