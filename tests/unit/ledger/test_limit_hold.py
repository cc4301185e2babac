"""A hold is told to all workers on their channel."""

from __future__ import annotations

from headrace.ledger.limit_configure import limit_configure
from headrace.ledger.limit_hold import limit_hold, parse_hold
from headrace.ledger.script import Ledger


async def test_a_hold_is_published_and_kept(ledger: Ledger) -> None:
    async with ledger.client.pubsub() as heard:
        await heard.subscribe(ledger.keys.limits_channel)
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await limit_hold(ledger, "openai.0", "openai", wait_ms=30_000, reason="openai says wait 30 s", process="p1")
        message = await heard.get_message(timeout=5)
    assert parse_hold(message["data"]) == ("openai.0", 30_000, "p1", "openai says wait 30 s")
    (scope,) = await limit_configure(ledger, "p2", [])
    assert (scope.name, scope.reason) == ("openai", "openai says wait 30 s")
    assert 29_000 < scope.held_ms <= 30_000


def test_other_messages_are_no_hold() -> None:
    for payload in (b"changed", b"", b"hold x", b"hold s -1 p r", b"hold s 99999999999 p r", b"\xff \xff"):
        assert parse_hold(payload) is None
