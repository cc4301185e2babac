"""Reject batch: it ends with what is wrong, and nothing of it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.begin_batch import begin_batch
from headrace.ledger.reject_batch import reject_batch
from headrace.ledger.script import Ledger

Made = Callable[..., Awaitable[str]]


async def test_a_batch_whose_lines_are_bad_ends(ledger: Ledger, look: Any, made: Made, take: Any) -> None:
    batch = await made()
    check = await take(f"{batch}.check")
    assert await reject_batch(ledger, batch, check.epoch, rejection="r.json", reason="line 3")
    before = await look.everything()
    assert not await reject_batch(ledger, batch, check.epoch, rejection="r.json", reason="line 3")
    assert await look.everything() == before
    record = await look.record(batch)
    assert (record["state"], record["rejection"], record["reason"]) == ("failed", "r.json", "line 3")
    assert b'"t":"end","state":"failed"' in (await look.log(batch))[-1][1]
    with pytest.raises(errors.Closed):
        await begin_batch(ledger, batch, check.epoch + 1, record={})


async def test_a_batch_that_is_not_there_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(errors.Unknown):
        await reject_batch(ledger, new_id("batch"), 1, rejection="r", reason="no")
