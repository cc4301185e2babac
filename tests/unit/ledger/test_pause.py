"""Pause: a batch keeps what it has and claims no more, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.pause import pause
from headrace.ledger.script import Ledger


async def test_a_paused_batch_says_why(ledger: Ledger, look: Any, batch: str, shard: Any) -> None:
    await pause(ledger, batch, reason="no room")
    record = await look.record(batch)
    assert (record["state"], record["reason"], record["running"]) == ("paused", "no room", "1")
    assert b'"t":"batch.state","state":"paused"' in (await look.log(batch))[-1][1]
    assert await look.state(shard.record_id) == "running"


async def test_sent_twice_it_is_paused_once_for_the_first_reason(ledger: Ledger, look: Any, batch: str) -> None:
    await pause(ledger, batch, reason="no room")
    before = await look.everything()
    await pause(ledger, batch, reason="another")
    assert await look.everything() == before


async def test_refuses_cancelled_and_unknown_batches(ledger: Ledger, look: Any, batch: str) -> None:
    await cancel(ledger, batch)
    with pytest.raises(errors.Closed, match="cancelling"):
        await pause(ledger, batch, reason="no room")
    with pytest.raises(errors.Unknown):
        await pause(ledger, new_id("batch"), reason="no room")
    assert await look.state(batch) == "cancelling"
