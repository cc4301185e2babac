"""Reject: messages and records that cannot be processed are set aside (a dead-letter list) and counted, so that they block
nothing."""

from __future__ import annotations

import secrets

import msgspec

from headrace.ledger.script import Ledger

MAX_BYTES = 4096
"""Size from which on something that was set aside is cut."""

NOUNS = {"message": "message", "record": "record", "name": "name"}
"""The kinds: a Celery message that is no hint, the record of a job, a shard or a batch, a name in an index that is no id."""


class Rejected(msgspec.Struct, frozen=True):
    """One thing that was set aside: the time, its kind, where it was met, the reason, and its data (at most `MAX_BYTES`; it
    may hold a prompt: not for a log)."""

    at_ms: int
    kind: str
    where: str
    why: str
    data: bytes


async def reject(ledger: Ledger, kind: str, data: bytes, *, where: str, why: str) -> None:
    """Set `data` aside: a `kind` of `NOUNS`, met at `where` (a queue, an index: one word). `why` must not quote it."""
    keys = ledger.keys
    await ledger.run(
        "reject",
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


async def rejected(ledger: Ledger, limit: int = 100) -> list[Rejected]:
    """Return the newest things that were set aside in the last week, newest first."""
    return [parse(raw) for raw in await ledger.client.lrange(ledger.keys.rejected, 0, limit - 1)]


def parse(raw: bytes) -> Rejected:
    head, _, data = raw.partition(b"\n")
    at_ms, kind, where, why = (*head.decode("utf-8", "replace").split(" ", 3), "", "", "", "")[:4]
    return Rejected(int(at_ms) if at_ms.isdigit() else 0, kind, where, why, data)


def counted(counts: dict[bytes, bytes]) -> str:
    """Return the hash `rejections` in words: `2 messages, 1 record`; empty when nothing was set aside."""
    known = {name.decode("utf-8", "replace"): int(count) for name, count in counts.items() if count.isdigit()}
    return ", ".join(
        f"{known[kind]} {noun}{'s' * (known[kind] != 1)}" for kind, noun in NOUNS.items() if known.get(kind)
    )
