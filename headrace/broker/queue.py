"""The broker's own keys in Redis: the lists in which hints wait, and the hints that workers hold. Celery's, not the ledger's."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.ledger.queues import QUEUES
from headrace.text.readable import UNREADABLE

SENT_HEADER = "sent_ms"
"""Header of a hint: when it was sent, by its sender's clock, in milliseconds since 1970."""


class HintHeaders(msgspec.Struct):
    """Of its headers."""

    sent_ms: str | int = 0


class HintMessage(msgspec.Struct):
    """What is read of a hint in a queue's list."""

    headers: HintHeaders


def key_prefix(namespace: str) -> str:
    """Return the prefix of all broker keys and channels of `namespace`.

    It has the ledger's hash tag, so that one ACL pattern covers both and all keys share one slot. kombu also prefixes
    pub/sub channels, which know no databases: events and remote control stay inside the namespace.
    """
    return f"{{{namespace}}}celery:"


def queue_key(namespace: str, queue: str) -> str:
    """Return the key of the Redis list in which the hints of `queue` wait."""
    return key_prefix(namespace) + queue


def unacked_key(namespace: str) -> str:
    """Return the key of the Redis hash of the hints that workers hold (for `HLEN`)."""
    return key_prefix(namespace) + "unacked"


def queue_keys(namespace: str) -> dict[str, str]:
    """Return the keys of all queues' lists, by queue."""
    return {queue: queue_key(namespace, queue) for queue in QUEUES}


def waiting_hints(client: Any, namespace: str, queue: str) -> int:
    """Return the number of hints that wait in `queue`, asked over a (sync) redis client."""
    return client.llen(queue_key(namespace, queue))


def sent_ms_of(message: Any) -> int | None:
    """Return when a message in a queue's list was sent; None for one that does not say."""
    if not isinstance(message, bytes):
        return None
    try:
        sent = str(msgspec.json.decode(message, type=HintMessage).headers.sent_ms)
    except UNREADABLE:
        return None
    return int(sent) or None if sent.isdecimal() and sent.isascii() and len(sent) < 16 else None
