"""Set budget: the most that a batch, a tenant, or a tenant in a day may cost. What is spent already counts."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def set_batch_budget(
    ledger: Ledger, batch_id: str, nano_usd: int | None, *, allow_unpriced: bool | None = None
) -> bool:
    """Set the budget of a batch that has not ended, or remove it (None). Returns True when it is paused because the one
    before was met. Raises `Unknown` or `Closed`."""
    (paused_by,) = await ledger.run(
        "set_budget",
        batch_id,
        {"holder": ledger.keys.batch(batch_id)},
        {
            "field": "budget_nano_usd",
            "nano_usd": "" if nano_usd is None else nano_usd,
            "allowed": "" if allow_unpriced is None else int(allow_unpriced),
            "of_batch": 1,
        },
    )
    return paused_by == b"batch"


async def set_tenant_budget(
    ledger: Ledger, tenant: str, nano_usd: int | None, *, of_day: bool, allow_unpriced: bool | None = None
) -> None:
    """Set the budget of all that a tenant spends, or of each of its days (UTC), or remove it (None)."""
    await ledger.run(
        "set_budget",
        tenant,
        {"holder": ledger.keys.spend(tenant)},
        {
            "field": "day_budget_nano_usd" if of_day else "budget_nano_usd",
            "nano_usd": "" if nano_usd is None else nano_usd,
            "allowed": "" if allow_unpriced is None else int(allow_unpriced),
            "of_batch": 0,
        },
    )
