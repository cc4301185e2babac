"""The reads of `headrace doctor`, over a (sync) redis client without retries. Read-only."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.ledger.announce import Announcement, live
from headrace.ledger.dead_letter import counts_in_words
from headrace.ledger.keys import Keys
from headrace.ledger.limit_record import LimitRecord, read_limits
from headrace.ledger.store_name import FIELD, StoreName, parse_store


class Rejections(msgspec.Struct, frozen=True):
    """The things that were set aside, counted in words (`2 messages, 1 record`; empty for none), and how many of them are
    `kept`."""

    text: str
    kept: int


class Inspection:
    """Reads of the ledger under one namespace. Every method raises what the client raises."""

    def __init__(self, client: Any, namespace: str):
        self._client = client
        self.keys = Keys(namespace)

    def store(self) -> StoreName | None:
        """Return the file store that the ledger names; None when it names none. Raises `msgspec.MsgspecError` for what
        is no name."""
        raw = self._client.hget(self.keys.store, FIELD)
        return None if raw is None else parse_store(raw)

    def announcements(self) -> list[Announcement]:
        """Return the announcements of all live workers, by the server's clock."""
        stored = self._client.hgetall(self.keys.providers)
        return live(stored, self._client.time()[0] * 1000)

    def limits(self) -> list[LimitRecord]:
        """Return the limits that workers share."""
        return read_limits(self._client, self.keys)

    def rejections(self) -> Rejections:
        """Return the number of things that were set aside, and of those that are kept; the latter is read only when there
        are any."""
        text = counts_in_words(self._client.hgetall(self.keys.rejections))
        return Rejections(text, self._client.llen(self.keys.rejected) if text else 0)
