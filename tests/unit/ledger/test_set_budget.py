"""Set budget: of a batch that has not ended, of a tenant, of a tenant's days."""

from __future__ import annotations

import pytest

from headrace.errors import Closed, Unknown
from headrace.jobs.job import new_id
from headrace.ledger.batch_record import batch_record
from headrace.ledger.open import open_batch
from headrace.ledger.script import Ledger
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget


async def test_a_batch_has_the_budget_that_was_set_last(ledger: Ledger) -> None:
    batch = new_id("batch")
    with pytest.raises(Unknown):
        await set_batch_budget(ledger, batch, 5)
    await open_batch(
        ledger, batch, template_sha="s", template=b"{}", window_ms=10**9, tenant="default", record={"total": 1}
    )
    assert not await set_batch_budget(ledger, batch, 5, allow_unpriced=True)
    assert not await set_batch_budget(ledger, batch, 7)
    assert (await batch_record(ledger, batch)).counter("budget_nano_usd") == 7
    assert not await set_batch_budget(ledger, batch, None)
    assert "budget_nano_usd" not in (await batch_record(ledger, batch)).fields
    await ledger.client.hset(ledger.keys.batch(batch), "state", "completed")
    with pytest.raises(Closed):
        await set_batch_budget(ledger, batch, 5)
    await ledger.client.hset(ledger.keys.batch(batch), "state", "in_progress")


async def test_a_tenant_has_one_of_all_and_one_of_each_day(ledger: Ledger) -> None:
    await set_tenant_budget(ledger, "acme", 5, of_day=False)
    await set_tenant_budget(ledger, "acme", 7, of_day=True)
    spend = ledger.keys.spend("acme")
    assert await ledger.client.hmget(spend, "budget_nano_usd", "day_budget_nano_usd") == [b"5", b"7"]
    await set_tenant_budget(ledger, "acme", None, of_day=False)
    assert await ledger.client.hgetall(spend) == {b"day_budget_nano_usd": b"7"}
