"""What calls cost at prices that the reader of an account gives: the provider's own bill, to hold others' against.

Each call is rounded by itself, half to even, to a nano-USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from headrace_rehearsal.account import AccountedCall, paid

NANO = 10**9


class Price(msgspec.Struct, frozen=True):
    """USD per million tokens, as decimal numbers in text."""

    input: str
    output: str
    cached: str


def charged(call: AccountedCall, prices: Mapping[tuple[str, str], Price]) -> int:
    """Return the nano-USD of one call, by the prices of its `(model, tier)`; 0 for one that is not paid, or was not understood.
    What the provider itself said is what it charges. Raises `KeyError` for a model without a price."""
    used = call.used
    if not paid(call) or used is None:
        return 0
    if used.charge is not None:
        return round(Fraction(repr(used.charge)) * NANO)
    price = prices[used.model, used.tier]
    plain = used.input_tokens - used.cached_tokens
    usd_per_million = (
        plain * Fraction(price.input)
        + used.cached_tokens * Fraction(price.cached)
        + used.answer_tokens * Fraction(price.output)
    )
    return round(usd_per_million * NANO / 1_000_000)


def total_charged(calls: Iterable[AccountedCall], prices: Mapping[tuple[str, str], Price]) -> int:
    return sum(charged(call, prices) for call in calls)
