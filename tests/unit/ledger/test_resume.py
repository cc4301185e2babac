"""Resume: a paused batch goes on where it stood."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.pause import pause
from headrace.ledger.resume import resume
from headrace.ledger.script import Ledger


async def test_a_resumed_batch_is_claimed_again(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    await pause(ledger, batch, reason="no room")
    await resume(ledger, batch)
    assert (await look.state(batch), await look.field(batch, "reason")) == ("in_progress", "")
    states = [event.split(b'"state":"')[1].split(b'"')[0] for _, event in await look.log(batch)]
    assert states == [b"in_progress", b"paused", b"in_progress"]
    assert (await take(f"{batch}.s0")).epoch > 0


async def test_sent_twice_it_goes_on_once(ledger: Ledger, look: Any, batch: str) -> None:
    await pause(ledger, batch, reason="no room")
    await resume(ledger, batch)
    before = await look.everything()
    await resume(ledger, batch)
    assert await look.everything() == before


async def test_time_paused_does_not_count_for_the_window(ledger: Ledger, look: Any, batch: str) -> None:
    before = int(await look.field(batch, "expires"))
    await pause(ledger, batch, reason="no room")
    since = int(await look.field(batch, "paused"))
    await ledger.client.hset(ledger.keys.batch(batch), "paused", since - 5_000)
    await resume(ledger, batch)
    assert 5_000 <= int(await look.field(batch, "expires")) - before < 6_000
    assert await look.field(batch, "paused") is None


async def test_a_cancelled_batch_does_not_come_back(ledger: Ledger, look: Any, batch: str) -> None:
    await cancel(ledger, batch)
    with pytest.raises(errors.Closed, match="cancelling"):
        await resume(ledger, batch)
    with pytest.raises(errors.Unknown):
        await resume(ledger, new_id("batch"))
    assert await look.state(batch) == "cancelling"
