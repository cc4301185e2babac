"""Begin batch: what was checked is fed, once, and by the last attempt at the check alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.begin_batch import begin_batch
from headrace.ledger.cancel import cancel
from headrace.ledger.feed import feed
from headrace.ledger.recover import recover
from headrace.ledger.reject_batch import reject_batch
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange

EXPIRED = -1
BEGUN = {"total": 1, "shards": 1}
Made = Callable[..., Awaitable[str]]


async def test_a_checked_batch_is_fed(ledger: Ledger, look: Any, made: Made, take: Any) -> None:
    batch = await made()
    check = await take(f"{batch}.check")
    assert await begin_batch(ledger, batch, check.epoch, record=BEGUN)
    before = await look.everything()
    assert not await begin_batch(ledger, batch, check.epoch, record=BEGUN)
    assert await look.everything() == before
    assert await look.state(batch) == "in_progress"
    assert (await look.due(), await look.leased()) == (set(), set())
    assert await ledger.client.zrange(ledger.keys.open, 0, -1) == [batch.encode()]
    assert await feed(ledger, batch, 0, [ShardRange(0, 1, 0, 1)], queue="bulk") == 1


async def test_a_check_whose_worker_died_begins_anew_and_the_old_one_writes_nothing(
    ledger: Ledger, made: Made, take: Any
) -> None:
    batch = await made()
    old = await take(f"{batch}.check", lease_ms=EXPIRED)
    for _ in range(4):  # however often: it is never a suspect
        assert await recover(ledger) == [("bulk", f"{batch}.check")]
        new = await take(f"{batch}.check", token="t2", lease_ms=EXPIRED)
    for move in (
        lambda: begin_batch(ledger, batch, old.epoch, record=BEGUN),
        lambda: reject_batch(ledger, batch, old.epoch, rejection="r", reason="no"),
    ):
        with pytest.raises(errors.Fenced):
            await move()
    assert await begin_batch(ledger, batch, new.epoch, record=BEGUN)


async def test_cancelled_while_it_is_checked_it_has_ended(ledger: Ledger, look: Any, made: Made, take: Any) -> None:
    batch = await made()
    check = await take(f"{batch}.check")
    assert await cancel(ledger, batch) == "cancelled"
    assert await cancel(ledger, batch) == "cancelled"
    assert (await look.due(), await look.leased()) == (set(), set())
    with pytest.raises(errors.Closed):
        await begin_batch(ledger, batch, check.epoch, record=BEGUN)
    with pytest.raises(errors.Unknown):
        await take(f"{batch}.check")
    assert await look.state(batch) == "cancelled"


async def test_a_batch_that_is_not_there_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(errors.Unknown):
        await begin_batch(ledger, new_id("batch"), 1, record=BEGUN)
