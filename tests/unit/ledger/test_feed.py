"""Feed: the next shards get records; the cursor keeps a second leader, or a repetition, from making them again."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.feed import feed
from headrace.ledger.pause import pause
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange

NEXT = [ShardRange(4, 3, 20, 15)]


async def test_a_fed_shard_is_queued_with_its_range(ledger: Ledger, look: Any, batch: str) -> None:
    assert await feed(ledger, batch, 2, NEXT, queue="bulk") == 3
    record = await look.record(f"{batch}.s2")
    assert (record["kind"], record["state"], record["queue"]) == ("shard", "queued", "bulk")
    assert [record[name] for name in ("line", "count", "offset", "length")] == ["4", "3", "20", "15"]
    assert [record[name] for name in ("epoch", "crashes", "bytes")] == ["0", "0", "0"]
    assert f"{batch}.s2" in await look.due()
    assert await look.field(batch, "fed") == "3"


async def test_sent_twice_the_second_learns_the_cursor_and_makes_nothing(
    ledger: Ledger, look: Any, batch: str, take: Any
) -> None:
    await feed(ledger, batch, 2, NEXT, queue="bulk")
    await take(f"{batch}.s2")
    before = await look.everything()
    with pytest.raises(errors.Gap) as gap:
        await feed(ledger, batch, 2, NEXT, queue="bulk")
    assert gap.value.detail == "3"
    assert await look.everything() == before


async def test_a_cursor_ahead_is_refused(ledger: Ledger, look: Any, batch: str) -> None:
    with pytest.raises(errors.Gap):
        await feed(ledger, batch, 5, NEXT, queue="bulk")
    assert await look.state(f"{batch}.s5") is None


async def test_a_batch_that_rests_or_ends_is_not_fed(ledger: Ledger, look: Any, batch: str) -> None:
    await pause(ledger, batch, reason="no room")
    with pytest.raises(errors.Paused):
        await feed(ledger, batch, 2, NEXT, queue="bulk")
    await cancel(ledger, batch)
    with pytest.raises(errors.Closed, match="cancelling"):
        await feed(ledger, batch, 2, NEXT, queue="bulk")
    with pytest.raises(errors.Unknown):
        await feed(ledger, new_id("batch"), 0, NEXT, queue="bulk")
    assert await look.field(batch, "fed") == "2"
