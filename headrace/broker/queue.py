"""The broker's own keys in Redis: the lists in which hints wait, and the hints that workers hold. Celery's, not the ledger's."""

from __future__ import annotations

from typing import Any


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


def waiting_hints(client: Any, namespace: str, queue: str) -> int:
    """Return the number of hints that wait in `queue`, asked over a (sync) redis client."""
    return client.llen(queue_key(namespace, queue))
