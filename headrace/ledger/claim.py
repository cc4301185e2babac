"""Claim: the only move from `queued` to `running`; it begins an attempt. Why it is fenced: docs/decisions/0001-ledger.md."""

from __future__ import annotations

import msgspec

from headrace.ledger.keys import batch_of, shard_number
from headrace.ledger.script import Ledger, fields

LEASE_MS = 16_000
"""How long a silent process keeps its records. One second over the promise, because a cut may fall just before a beat."""


class Claimed(msgspec.Struct, frozen=True):
    """An attempt: `epoch` fences every later write of it, `record` holds the record's fields as they were stored."""

    record_id: str
    epoch: int
    record: dict[str, bytes]

    @property
    def calls(self) -> str:
        """The calls made so far, as `park` and `release` were given them; empty at first."""
        return self.record.get("calls", b"").decode()

    def integer(self, field: str) -> int:
        return int(self.record.get(field) or 0)


async def claim(
    ledger: Ledger, record_id: str, *, token: str, owner: str, queue: str, lease_ms: int = LEASE_MS
) -> Claimed:
    """Begin an attempt at a job, a shard or a join that is queued on `queue`.

    Sending the same `token` again returns the same attempt. Raises `Busy` while another attempt's lease runs (or the
    record waits elsewhere), `Finished`, `Cancelled`, `Dead` or `Unknown` when there is nothing to do, `Paused` when its
    batch is.
    """
    keys = ledger.keys
    batch_id = batch_of(record_id)
    flat = await ledger.run(
        "claim",
        record_id,
        {
            "record": keys.record(record_id),
            "due": keys.due,
            "leases": keys.leases,
            "log": keys.log(keys.record(record_id)),
            "batch": keys.batch(batch_id),
            "parts": keys.parts(keys.batch(batch_id)),
        },
        {
            "id": record_id,
            "token": token,
            "owner": owner,
            "queue": queue,
            "lease_ms": lease_ms,
            "channel": keys.channel(keys.record(record_id)),
            "number": shard_number(record_id),
        },
    )
    record = fields(flat)
    return Claimed(record_id, int(record["epoch"]), record)
