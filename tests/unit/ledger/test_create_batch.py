"""Create batch: it waits for the check of its input, and a repeated request makes no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace import errors
from headrace.ledger.cancel import cancel
from headrace.ledger.creation import Creation
from headrace.ledger.due import due
from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.feed import feed
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.unread import UnreadAnswer, WaitingClient, mark_disconnected, renew_gateway

EXPIRED = -1
BEGUN = {"total": 1, "shards": 1}
Made = Callable[..., Awaitable[str]]


async def test_a_new_batch_waits_for_its_check(ledger: Ledger, look: Any, made: Made) -> None:
    batch = await made()
    assert await look.state(batch) == "validating"
    assert await look.due() == {f"{batch}.check"}
    assert await ledger.client.zrange(ledger.keys.open, 0, -1) == [], "nobody feeds it"
    await look.hurry()
    assert await due(ledger) == [("bulk", f"{batch}.check")]
    with pytest.raises(errors.Closed):
        await feed(ledger, batch, 0, [ShardRange(0, 1, 0, 1)], queue="bulk")


async def test_sent_twice_it_is_made_once(look: Any, made: Made) -> None:
    batch = await made()
    before = await look.everything()
    assert await made(batch_id=batch) == batch
    assert await look.everything() == before


async def test_a_repeated_request_is_given_the_first_batch(made: Made, ledger: Ledger) -> None:
    waiter = WaitingClient("here", again=False, asked="0" * 64)
    same, retry = Creation("same", waiter=waiter), Creation("same", waiter=waiter._replace(again=True))
    first = await made(same)
    assert await made(same) != first, "two equal requests are two batches"
    assert await made(retry) == first
    await mark_disconnected(ledger, UnreadAnswer("default", waiter.asked, first, first))
    keyed = await made(Creation("x", "key"))
    assert await made(Creation("x", "key")) == keyed
    with pytest.raises(errors.Conflict):
        await made(Creation("y", "key"))


async def test_a_request_without_a_mark_is_given_what_a_dead_gateway_made(made: Made, ledger: Ledger) -> None:
    there, here = (
        Creation("same", waiter=WaitingClient(name, again=False, asked="0" * 64)) for name in ("there", "here")
    )
    await renew_gateway(ledger, "there")
    first = await made(there)
    await ledger.client.pexpire(ledger.keys.gateway("there"), 2000)
    with pytest.raises(errors.Busy):
        await made(here)
    await ledger.client.delete(ledger.keys.gateway("there"))
    assert await made(here) == first
    assert await made(here) != first, "it is taken"


async def test_a_batch_whose_check_is_damaged_ends(ledger: Ledger, look: Any, made: Made) -> None:
    batch = await made()
    await ledger.client.hdel(ledger.keys.check(batch), "kind")
    assert await evict_damaged(ledger, [f"{batch}.check"], where="due") == [(f"{batch}.check", "no kind")]
    assert await look.state(batch) == "failed"
    await ledger.client.delete(ledger.keys.check(batch))


async def test_cancelled_before_its_check_it_leaves_nothing_to_be_done(ledger: Ledger, look: Any, made: Made) -> None:
    batch = await made()
    assert await cancel(ledger, batch) == "cancelled"
    assert await look.due() == set()
    assert not await ledger.client.exists(ledger.keys.check(batch))
