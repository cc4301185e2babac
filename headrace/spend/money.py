"""Money: whole nano-USD, so that sums are exact; how amounts are read and written.

A call's cost is worked out in decimals and rounded once, half to even, to a nano-USD (a thousandth of a millionth of a
dollar). From there on only integers are added.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from headrace.errors import InputError
from headrace.text.quoting import quoted

NANO = 1_000_000_000
MAX_NANO = 10**15
"""A million USD: what is more is a mistake, and sums of it would not stay exact in a Lua script."""
AMOUNT = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,9}))?")


def nano_of(usd: Decimal) -> int:
    """Return an amount as whole nano-USD, rounded half to even."""
    with localcontext() as context:
        context.prec = 40
        return int((usd * NANO).to_integral_value(ROUND_HALF_EVEN))


def nano_of_float(usd: float) -> int:
    """Return the nano-USD of an amount that `usd_of` made, or that a provider wrote as a number in JSON."""
    return nano_of(Decimal(repr(float(usd))))


def usd_of(nano: int) -> float:
    """Return nano-USD as USD; `nano_of_float` gives back the same number."""
    return nano / NANO


def usd_text(nano: int) -> str:
    """Return an amount for people: `1.50`, `0.000012`, at least two digits after the point, and none too few."""
    whole, part = divmod(abs(nano), NANO)
    digits = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{digits}"


def checked_budget(text: object, name: str) -> int:
    """Return the nano-USD of an amount in USD as a caller writes it. Raises `InputError` that begins with `name`."""
    written = text if isinstance(text, str) else repr(text) if type(text) in (int, float, Decimal) else ""
    written = str(text) if isinstance(text, Decimal) else written.strip()
    if any(sign in written for sign in "€£¥") or re.search(r"(?i)eur|gbp|chf|jpy", written):
        raise InputError(f"{name}={quoted(text)}: budgets are in US dollars; write the number alone, as in 5.00")
    match = AMOUNT.fullmatch(written)
    if match is None or isinstance(text, bool):
        raise InputError(
            f"{name}={quoted(text)}: must be an amount in US dollars above 0, with a point and at most 9 digits after it, "
            "as in 5.00"
        )
    nano = int(match[1]) * NANO + int((match[2] or "").ljust(9, "0"))
    if not 0 < nano <= MAX_NANO:
        raise InputError(f"{name}={quoted(text)}: must be above 0, and 1,000,000 USD at most")
    return nano
