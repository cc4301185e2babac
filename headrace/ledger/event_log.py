"""Reads of the event log of a job or a batch: its tail, and its entries as bytes.

A log belongs to a record, which is named by its key here (`keys.job(id)`, `keys.batch(id)`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.ledger.script import Ledger

TAIL_FIELDS = ("state", "epoch", "seq")


class LogTail(msgspec.Struct, frozen=True):
    """The tail of a log: the `state` of its record, and its last event, number `seq` of the attempt `epoch`."""

    state: str
    epoch: int
    seq: int


async def log_tail(ledger: Ledger, record: str) -> LogTail | None:
    """Return the tail of a record's log; None when there is no such record. Raises `ValueError` for a malformed number."""
    return _tail(await ledger.client.hmget(record, TAIL_FIELDS))


async def log_tails(ledger: Ledger, records: Sequence[str]) -> list[LogTail | Exception | None]:
    """Return the tails of many logs in one round trip; in place of one, the error that `log_tail` would raise for it."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for record in records:
            pipeline.hmget(record, TAIL_FIELDS)
        replies = await pipeline.execute(raise_on_error=False)
    return [_tail_or_error(reply) for reply in replies]


async def log_entries(ledger: Ledger, record: str, first: str, last: str, count: int) -> list[tuple[str, bytes]]:
    """Return at most `count` entries from id `first` to id `last`: `(id, data)` of each. Raises `KeyError` or `ValueError`
    for an entry that is no event."""
    entries = await ledger.client.xrange(ledger.keys.log(record), min=first, max=last, count=count)
    return [(number.decode(), fields[b"d"]) for number, fields in entries]


def _tail(values: Sequence[bytes | None]) -> LogTail | None:
    state, epoch, seq = values
    return None if state is None else LogTail(state.decode(), int(epoch or 0), int(seq or 0))


def _tail_or_error(reply: Sequence[bytes | None] | Exception) -> LogTail | Exception | None:
    try:
        return reply if isinstance(reply, Exception) else _tail(reply)
    except ValueError as error:
        return error
