"""Claim: the only move from `queued` to `running`; it begins an attempt. Why it is fenced: docs/decisions/0001-ledger.md."""

from __future__ import annotations

import msgspec

from headrace.errors import CODES, Failure
from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.keys import batch_of, shard_number
from headrace.ledger.queues import QUARANTINE
from headrace.ledger.script import Ledger, fields
from headrace.ledger.shard_range import ShardRange

LEASE_MS = 16_000
"""Milliseconds that a lease lasts without a heartbeat. One second over the promise, because a cut may fall just before a
beat."""
BROKEN_OFF = Failure("incomplete_stream", "it broke off after a part of the answer had been shown")
EVENT = b'{"t":"end","status":"failed","error":%s}' % msgspec.json.encode(
    {"code": BROKEN_OFF.code, "message": BROKEN_OFF.message, "retryable": CODES[BROKEN_OFF.code].retryable}
)


class Claimed(msgspec.Struct, frozen=True):
    """An attempt: `epoch` is the fencing token of all its writes, `record` holds the record's fields as they were stored.

    A field is decoded on access: a damaged one must fail this record alone. Raises `KeyError` for one that is missing and
    has no default, `ValueError` for one that cannot be decoded.
    """

    record_id: str
    epoch: int
    record: dict[str, bytes]

    @property
    def kind(self) -> str:
        """`job`, `shard`, `join` or `check`; anything else is damage."""
        return self.record.get("kind", b"").decode(errors="replace")

    @property
    def tenant(self) -> str:
        return self.record.get("tenant", b"default").decode()

    @property
    def body(self) -> bytes:
        """The encoded request; of a job."""
        return self.record["body"]

    @property
    def trace(self) -> str:
        """The `traceparent` of whoever submitted it; of a job, empty for none."""
        return self.record.get("trace", b"").decode(errors="replace")

    @property
    def is_cancelled(self) -> bool:
        """Return True if it was cancelled while its last attempt was ending."""
        return "cancel" in self.record

    @property
    def is_budgeted(self) -> bool:
        """Return True if its calls have to be reserved: of its batch, its tenant or the day a budget is set."""
        return "budgeted" in self.record

    @property
    def allows_unpriced(self) -> bool:
        """Return True if these budgets let calls pass whose price is unknown."""
        return self.record.get("unpriced_allowed") == b"1"

    @property
    def left_ms(self) -> int | None:
        """Milliseconds to its deadline when it was claimed, by the server's clock; None without a deadline. Only of a claim
        with the lease `LEASE_MS`."""
        if "expires" not in self.record:
            return None
        return self.integer("expires") - self.integer("lease") + LEASE_MS

    @property
    def shard_range(self) -> ShardRange:
        """The place of its items; of a shard."""
        return ShardRange(self.integer("line"), self.integer("count"), self.integer("offset"), self.integer("length"))

    @property
    def is_quarantined(self) -> bool:
        return self.record.get("queue") == QUARANTINE.encode()

    @property
    def deaths_alone(self) -> int:
        """The number of times that its process died while it ran alone in quarantine."""
        return self.integer("alone")

    @property
    def item(self) -> int | None:
        """The item of a shard that ran alone when its process died."""
        text = self.record.get("item", b"").decode()
        return int(text) if text else None

    @property
    def suspects(self) -> int | None:
        """The number of items of a shard, the first without a row, that were in flight at the crash; None when nobody knows."""
        return self.integer("suspects") or None

    @property
    def company(self) -> int:
        """The number of its suspects that may run together."""
        return self.integer("company") or 1

    @property
    def calls(self) -> str:
        """The calls made so far, as `park` and `release` were given them; empty at first."""
        return self.record.get("calls", b"").decode()

    def integer(self, field: str) -> int:
        return int(self.record.get(field) or 0)


async def claim(
    ledger: Ledger, record_id: str, *, token: str, owner: str, queue: str, lease_ms: int = LEASE_MS
) -> Claimed:
    """Begin an attempt at a job, a shard or a join that is queued on `queue`. Returns its lease and epoch (the fencing
    token).

    Idempotent: the same `token` returns the same attempt. A job whose last attempt was shown (`show`) ends instead, as failed.
    Raises `Busy` while another attempt's lease runs (or the record
    waits elsewhere), `Finished`, `Cancelled`, `Dead` or `Unknown` when there is nothing to do, `Paused` when its batch is.
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
            "result": msgspec.json.encode({"error": BROKEN_OFF}),
            "event": EVENT,
            "keep_ms": TOMBSTONE_MS,
        },
    )
    record = fields(flat)
    return Claimed(record_id, int(record["epoch"]), record)
