"""Lead: one process tends the ledger, for as long as it renews."""

from __future__ import annotations

from headrace.ledger.lead import lead
from headrace.ledger.script import Ledger


async def test_one_process_leads_and_keeps_the_lead(ledger: Ledger) -> None:
    assert await lead(ledger, "a")
    assert await lead(ledger, "a")
    assert not await lead(ledger, "b")
    assert await ledger.client.get(ledger.keys.leader) == b"a"


async def test_the_lead_has_an_end(ledger: Ledger) -> None:
    await lead(ledger, "a", lease_ms=5_000)
    assert 0 < await ledger.client.pttl(ledger.keys.leader) <= 5_000
    await ledger.client.delete(ledger.keys.leader)
    assert await lead(ledger, "b")


async def test_to_ask_in_vain_does_not_shorten_the_lead_of_another(ledger: Ledger) -> None:
    await lead(ledger, "a", lease_ms=1_000_000)
    assert not await lead(ledger, "b", lease_ms=1)
    assert await ledger.client.pttl(ledger.keys.leader) > 900_000
