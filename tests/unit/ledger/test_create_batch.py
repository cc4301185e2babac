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


async def test_a_repeated_request_is_given_the_first_batch(made: Made) -> None:
    first = await made(Creation("batch", "same"))
    assert await made(Creation("batch", "same", again=True)) == first
    second = await made(Creation("batch", "same"))
    assert second != first, "two equal requests are two batches"
    assert await made(Creation("batch", "same", again=True)) == second
    keyed = await made(Creation("batch", "x", "key"))
    assert await made(Creation("batch", "x", "key")) == keyed
    with pytest.raises(errors.Conflict):
        await made(Creation("batch", "y", "key"))


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
