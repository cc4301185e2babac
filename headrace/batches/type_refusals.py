"""Rows that the caller's type has refused (`ledger/refuse_rows`): which lines they are, and the error lines that replace
them."""

from __future__ import annotations

import msgspec

from headrace.batches.kept_columns import with_kept
from headrace.batches.outputs.output_lines import error_line
from headrace.errors import Failure
from headrace.ledger.row_refusals import refusal_reasons, refusal_reasons_of, refused_bits, refused_bits_between
from headrace.ledger.script import Ledger
from headrace.waiting import retry_read

BY_TYPE = {"by": "type"}
"""The metadata of such a failure."""
UNKNOWN_REASON = "the answer fits the schema, but not the type that it was checked with"


class TypeRefusals:
    """The lines of a batch that were refused: a bitmap from line `first` on, and the reasons, as far as they were stored."""

    def __init__(self, bits: bytes = b"", reasons: dict[int, str] | None = None, first: int = 0):
        self._bits = bits
        self._reasons = reasons or {}
        self._first = first

    @classmethod
    def of(cls, reasons: dict[int, str]) -> TypeRefusals:
        """Return the refusals of the lines in `reasons`."""
        if not reasons:
            return cls()
        first = min(reasons) // 8 * 8
        bits = bytearray((max(reasons) - first) // 8 + 1)
        for line in reasons:
            bits[(line - first) >> 3] |= 0x80 >> ((line - first) & 7)
        return cls(bytes(bits), reasons, first)

    def __bool__(self) -> bool:
        return any(self._bits)

    def __contains__(self, line: int) -> bool:
        at = line - self._first
        return 0 <= at < 8 * len(self._bits) and bool(self._bits[at >> 3] & (0x80 >> (at & 7)))

    def reason(self, line: int) -> str:
        return self._reasons.get(line, UNKNOWN_REASON)

    def applied(self, line: int, row: bytes) -> bytes:
        """Return the output line `row` of `line`, or the error line that it became."""
        return refused_line(row, self.reason(line)) if line in self else row


async def type_refusals(ledger: Ledger, batch_id: str) -> TypeRefusals:
    """Return all refusals of a batch."""
    bits = await retry_read(lambda: refused_bits(ledger, batch_id))
    if not bits:
        return TypeRefusals()
    return TypeRefusals(bits, await retry_read(lambda: refusal_reasons(ledger, batch_id)))


async def type_refusals_among(ledger: Ledger, batch_id: str, first: int, count: int) -> TypeRefusals:
    """Return the refusals among `count` lines from `first` on."""
    start, end = first // 8, (first + count - 1) // 8
    bits = await retry_read(lambda: refused_bits_between(ledger, batch_id, start, end))
    if not any(bits):
        return TypeRefusals()
    lines = [line for line in range(first, first + count) if line in TypeRefusals(bits, first=start * 8)]
    reasons = await retry_read(lambda: refusal_reasons_of(ledger, batch_id, lines)) if lines else {}
    return TypeRefusals(bits, reasons, start * 8)


class _PaidMessage(msgspec.Struct):
    content: str | None = None


class _PaidChoice(msgspec.Struct):
    message: _PaidMessage


class _PaidBody(msgspec.Struct):
    choices: list[_PaidChoice]


class _PaidResponse(msgspec.Struct):
    body: _PaidBody


class _PaidLine(msgspec.Struct):
    custom_id: str
    id: str = ""
    response: _PaidResponse | None = None


def refused_line(row: bytes, why: str) -> bytes:
    """Return the error line of a row whose answer the caller's type refused; a row without an answer stays as it is."""
    line = msgspec.json.decode(row, type=_PaidLine)
    if line.response is None:
        return row
    answer = line.response.body.choices[0].message.content
    failure = Failure("invalid_output", why, partial=answer, metadata=BY_TYPE)
    return with_kept(error_line(line.custom_id, line.id.removeprefix("batch_req_"), failure), row)
