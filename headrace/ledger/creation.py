"""A request that creates a file or a batch, as the ledger remembers it: repeated, it does not create another one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from headrace.ledger.submit import IDEMPOTENCY_MS
from headrace.ledger.unread import UNREAD_MS


class Creation(NamedTuple):
    """The request that creates something of a `kind`: the `digest` of what it asks for, its idempotency `key` if it has one, and
    whether it is a client's own retry (`again`). One with a key, or a retry, is given what an equal one before it has made."""

    kind: Literal["file", "batch", "retry"]
    digest: str
    key: str | None = None
    again: bool = False

    @property
    def name(self) -> str:
        """The name under which the ledger remembers it."""
        return f"headrace:{self.kind}:{self.digest}" if self.key is None else f"headrace:{self.kind}:key:{self.key}"

    @property
    def may_join(self) -> bool:
        return self.again or self.key is not None

    @property
    def kept_ms(self) -> int:
        return UNREAD_MS if self.key is None else IDEMPOTENCY_MS
