"""The event log of a record: where it ends, and its entries."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.event_log import LogTail, log_entries, log_tail, log_tails
from headrace.ledger.script import Ledger


async def test_a_log_ends_at_its_last_event(ledger: Ledger, attempt: Any) -> None:
    record = ledger.keys.job(attempt.record_id)
    assert await log_tail(ledger, record) == LogTail("running", attempt.epoch, 1)
    await append(ledger, attempt.record_id, attempt.epoch, 2, [b"two", b"three"])
    assert await log_tail(ledger, record) == LogTail("running", attempt.epoch, 3)
    entries = await log_entries(ledger, record, f"({attempt.epoch}-1", "+", 1)
    assert entries == [(f"{attempt.epoch}-2", b"two")]


async def test_one_bad_record_says_nothing_of_the_others(ledger: Ledger, attempt: Any) -> None:
    good, none, no_hash, no_number = (
        ledger.keys.job(name) for name in (attempt.record_id, *(new_id("job") for _ in range(3)))
    )
    await ledger.client.set(no_hash, "x")
    await ledger.client.hset(no_number, mapping={"state": "running", "epoch": "x"})
    tail, nothing, wrong_type, wrong_value = await log_tails(ledger, [good, none, no_hash, no_number])
    assert tail == LogTail("running", attempt.epoch, 1)
    assert nothing is None
    assert isinstance(wrong_type, ResponseError)
    assert isinstance(wrong_value, ValueError)
    await ledger.client.delete(no_hash, no_number)


async def test_an_entry_that_is_no_event(ledger: Ledger, attempt: Any) -> None:
    record = ledger.keys.job(attempt.record_id)
    await ledger.client.xadd(ledger.keys.log(record), {"x": "y"})
    with pytest.raises(KeyError):
        await log_entries(ledger, record, "-", "+", 9)
