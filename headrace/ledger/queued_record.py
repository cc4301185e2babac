"""Fields that jobs, shards and joins have in common while they wait in a queue."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.ledger.script import Ledger


class HintCounts(msgspec.Struct, frozen=True):
    """The number of `attempts` at a record that have begun, and of `hints` for the one that waits."""

    attempts: int
    hints: int


async def hint_counts(ledger: Ledger, record_ids: Sequence[str]) -> list[HintCounts | None]:
    """Return the number of attempts and hints of each record, in one round trip; None for one that is gone, or damaged."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for record_id in record_ids:
            pipeline.hmget(ledger.keys.record(record_id), ["n", "hints"])
        replies = await pipeline.execute(raise_on_error=False)
    return [_hint_counts(reply) for reply in replies]


def _hint_counts(reply: list[bytes | None] | Exception) -> HintCounts | None:
    try:
        attempts, hints = reply if isinstance(reply, list) else (None, None)
        return HintCounts(int(attempts or b""), int(hints or b""))
    except ValueError:
        return None


async def company(ledger: Ledger, record_id: str) -> int:
    """Return the number of suspects that may share a process with this one in quarantine; 1 where the record does not say."""
    stored = await ledger.client.hget(ledger.keys.record(record_id), "company")
    return int(stored) if stored and stored.isdigit() else 1
