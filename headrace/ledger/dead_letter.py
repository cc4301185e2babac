"""Dead letter: append a message or a record that cannot be processed to the dead-letter list, and count it.

The list is the key `rejected`, the counts are `rejections`. People are told that such things were set aside.
"""

from __future__ import annotations

import secrets

import msgspec

from headrace.ledger.script import Ledger

MAX_BYTES = 4096
"""Size from which on a dead letter is cut."""

NOUNS = {"message": "message", "record": "record", "name": "name"}
"""The kinds: a Celery message that is no hint, the record of a job, a shard or a batch, a name in an index that is no id."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One message or record that was set aside: the time, its kind, where it was met, the reason, and its data (at most
    `MAX_BYTES`; it may hold a prompt: not for a log)."""

    at_ms: int
    kind: str
    where: str
    why: str
    data: bytes


async def dead_letter(ledger: Ledger, kind: str, data: bytes, *, where: str, why: str) -> None:
    """Append `data`: a `kind` of `NOUNS`, met at `where` (a queue, an index: one word). `why` must not quote it."""
    keys = ledger.keys
    await ledger.run(
        "dead_letter",
        where,
        {"rejected": keys.rejected, "rejections": keys.rejections},
        {
            "kind": kind,
            "where": where.replace(" ", "_") or "-",
            "why": why.replace("\n", " "),
            "data": data[:MAX_BYTES],
            "token": secrets.token_hex(4),
        },
    )


async def dead_letters(ledger: Ledger, limit: int = 100) -> list[DeadLetter]:
    """Return the dead letters of the last week, newest first."""
    return [parse(raw) for raw in await ledger.client.lrange(ledger.keys.rejected, 0, limit - 1)]


def parse(raw: bytes) -> DeadLetter:
    head, _, data = raw.partition(b"\n")
    at_ms, kind, where, why = (*head.decode("utf-8", "replace").split(" ", 3), "", "", "", "")[:4]
    return DeadLetter(int(at_ms) if at_ms.isdigit() else 0, kind, where, why, data)


def counts_in_words(counts: dict[bytes, bytes]) -> str:
    """Return the hash `rejections` in words: `2 messages, 1 record`; empty when nothing was set aside."""
    known = {name.decode("utf-8", "replace"): int(count) for name, count in counts.items() if count.isdigit()}
    return ", ".join(
        f"{known[kind]} {noun}{'s' * (known[kind] != 1)}" for kind, noun in NOUNS.items() if known.get(kind)
    )
