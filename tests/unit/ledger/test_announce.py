"""Announce: what workers can call is known while they live, and forgotten soon after."""

from __future__ import annotations

from headrace.ledger.announce import Announcement, announce, announcements
from headrace.ledger.script import Ledger

ABLE = Announcement(configured=["mine"], usable=["mine", "vllm"], lacking={"openai": "OPENAI_API_KEY is not set"})


async def test_every_live_worker_is_heard(ledger: Ledger) -> None:
    await announce(ledger, "a", ABLE)
    await announce(ledger, "a", ABLE)
    await announce(ledger, "b", Announcement())
    assert sorted(await announcements(ledger), key=lambda each: each.usable) == [Announcement(), ABLE]
    assert 0 < await ledger.client.pttl(ledger.keys.providers) <= 20_000


async def test_a_silent_worker_is_forgotten(ledger: Ledger) -> None:
    await announce(ledger, "dead", ABLE, life_ms=1_000_000)
    await ledger.client.hset(ledger.keys.providers, "dead", b"1000 {}")
    assert await announcements(ledger) == []
    await announce(ledger, "alive", ABLE)
    assert await announcements(ledger) == [ABLE]
    assert await ledger.client.hkeys(ledger.keys.providers) == [b"alive"]


async def test_a_worker_that_ends_withdraws_its_announcement(ledger: Ledger) -> None:
    await announce(ledger, "a", ABLE)
    await announce(ledger, "a", None)
    await announce(ledger, "a", None)
    assert await announcements(ledger) == []


async def test_ignores_announcements_of_older_workers(ledger: Ledger) -> None:
    await ledger.client.hset(ledger.keys.providers, "mine", b"bulk-host-1-abc")
    assert await announcements(ledger) == []
    await announce(ledger, "a", ABLE)
    assert await ledger.client.hkeys(ledger.keys.providers) == [b"a"]
