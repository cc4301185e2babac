"""Spend record: what a tenant has spent, in all and by day, its budgets, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from headrace.ledger.damage import readable
from headrace.ledger.script import Ledger

NANO = 1e9


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of a day (UTC), or of all days (`day` is then empty), in US dollars.

    Of `unaccounted_calls` the usage never arrived: they cost `unaccounted_usd` at most. `unpriced_calls` have no known price.
    `cached` answers were not paid for, and would have cost `saved_usd`. Of `budget_usd` (None: none) `left_usd` is left, beside
    `reserved_usd` for calls under way.
    """

    day: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unaccounted_calls: int = 0
    unaccounted_usd: float = 0.0
    unpriced_calls: int = 0
    cached: int = 0
    saved_usd: float = 0.0
    reserved_usd: float = 0.0
    budget_usd: float | None = None
    left_usd: float | None = None


class SpendRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant has spent. `days` are those with calls or cached answers, the newest first."""

    tenant: str
    total: Spent
    today: Spent
    days: Sequence[Spent] = ()
    day_budget_usd: float | None = None


async def spend_record(ledger: Ledger, tenant: str, *, days: int) -> SpendRecord:
    """Return what `tenant` has spent, with the last `days` days by the server's clock. Raises `Damaged`."""
    (seconds, _) = await ledger.client.time()
    today = datetime.fromtimestamp(seconds, UTC).date()
    dates = [(today - timedelta(days=back)).isoformat() for back in range(max(1, days))]
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(ledger.keys.spend(tenant))
        for date in dates:
            pipeline.hgetall(ledger.keys.spend_of_day(tenant, date))
        total, *by_day = await pipeline.execute()
    with readable(f"what {tenant} has spent"):
        limit, of_day = (
            int(total[name]) if name in total else None for name in (b"budget_nano_usd", b"day_budget_nano_usd")
        )
        found = [spent(date, stored, of_day) for date, stored in zip(dates, by_day, strict=True)]
        return SpendRecord(
            tenant=tenant,
            total=spent("", total, limit),
            today=found[0],
            days=[each for each in found[:days] if each.calls or each.cached],
            day_budget_usd=None if of_day is None else of_day / NANO,
        )


def spent(day: str, stored: Mapping[bytes, bytes], budget: int | None) -> Spent:
    def number(name: str) -> int:
        return int(stored.get(name.encode(), 0))

    used = number("cost_nano_usd") + number("unaccounted_nano_usd") + number("reserved_nano_usd")
    return Spent(
        day=day,
        budget_usd=None if budget is None else budget / NANO,
        left_usd=None if budget is None else max(0, budget - used) / NANO,
        calls=number("calls"),
        input_tokens=number("input_tokens"),
        output_tokens=number("output_tokens"),
        cost_usd=number("cost_nano_usd") / NANO,
        unaccounted_calls=number("unaccounted_calls"),
        unaccounted_usd=number("unaccounted_nano_usd") / NANO,
        unpriced_calls=number("unpriced_calls"),
        cached=number("cached"),
        saved_usd=number("saved_nano_usd") / NANO,
        reserved_usd=number("reserved_nano_usd") / NANO,
    )
