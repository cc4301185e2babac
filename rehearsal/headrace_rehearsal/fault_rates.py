"""Shares of calls that have a fault at random, as the command line names them."""

from __future__ import annotations

from headrace_rehearsal.faults import ORDER, BadOrder, check_fault


def parse_rates(text: str) -> dict[str, float]:
    """Parse `429=0.05,500=0.01` to shares of all calls. Raises `BadOrder`."""
    rates: dict[str, float] = {}
    for part in filter(None, ORDER.split(text)):
        fault, _, share = part.partition("=")
        check_fault(fault)
        try:
            rates[fault] = float(share)
        except ValueError:
            raise BadOrder(f"{part!r} is not fault=share, such as 429=0.05") from None
    if not all(0 <= share <= 1 for share in rates.values()) or sum(rates.values()) > 1:
        raise BadOrder(f"the shares in {text!r} must lie between 0 and 1, and together not exceed 1")
    return rates
