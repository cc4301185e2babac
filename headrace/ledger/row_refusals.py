"""Reads of the rows that the caller's type has refused (`refuse_rows`): a bitmap of the input's lines, the first line in
the highest bit of the first byte, and the stored reasons."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger


async def refused_bits(ledger: Ledger, batch_id: str) -> bytes:
    """Return the bitmap up to the last refused line; empty when none was refused."""
    return await ledger.client.get(ledger.keys.refused(ledger.keys.batch(batch_id))) or b""


async def refused_bits_between(ledger: Ledger, batch_id: str, first_byte: int, last_byte: int) -> bytes:
    """Return the bitmap's bytes from one to another, both included, as far as it goes."""
    return await ledger.client.getrange(ledger.keys.refused(ledger.keys.batch(batch_id)), first_byte, last_byte)


async def refusal_reasons(ledger: Ledger, batch_id: str) -> dict[int, str]:
    """Return the stored reasons by line."""
    stored = await ledger.client.hgetall(ledger.keys.reasons(ledger.keys.batch(batch_id)))
    return {int(line): why.decode(errors="replace") for line, why in stored.items()}


async def refusal_reasons_of(ledger: Ledger, batch_id: str, lines: Sequence[int]) -> dict[int, str]:
    """Return the stored reasons of these `lines`, which must not be empty."""
    reasons = await ledger.client.hmget(ledger.keys.reasons(ledger.keys.batch(batch_id)), lines)
    return {line: why.decode(errors="replace") for line, why in zip(lines, reasons, strict=True) if why is not None}
