"""A request that creates a file or a batch, as the ledger remembers it: repeated, it does not create another one."""

from __future__ import annotations

from typing import NamedTuple

from headrace.ledger.keys import Keys
from headrace.ledger.script import Argument
from headrace.ledger.submit import IDEMPOTENCY_MS
from headrace.ledger.unread import WaitingClient


class Creation(NamedTuple):
    """The request that creates something: the `digest` of what it asks for, its idempotency `key` if it has one, and the client
    that waits for it. One with a key is given what that has made for 24 h; one without what an equal request has made whose
    client left without knowing."""

    digest: str
    key: str | None = None
    waiter: WaitingClient | None = None

    def keys(self, keys: Keys, tenant: str) -> dict[str, str]:
        """Return the keys of a script that uses the fragment `created`."""
        gateway, _, asked, _ = self.waiter or NOBODY
        return {
            "created": keys.idempotency(tenant, f"headrace:create:key:{self.key or ''}"),
            "unread": keys.unread(tenant, asked),
            "lease": keys.gateway(gateway),
        }

    def arguments(self) -> dict[str, Argument]:
        """Return the arguments of a script that uses the fragment `created`."""
        gateway, again, _, keep_ms = self.waiter or NOBODY
        return {
            "digest": self.digest,
            "keyed": int(self.key is not None),
            "key_ms": IDEMPOTENCY_MS,
            "gateway": gateway,
            "again": int(again),
            "unread_ms": keep_ms,
        }


NOBODY = WaitingClient("", again=False, asked="")
