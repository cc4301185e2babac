"""Open: a batch comes into being with its template; its counters begin at zero."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.open import TEMPLATE_MS, open_batch
from headrace.ledger.pause import pause
from headrace.ledger.script import Ledger

LONG = 10**9
COUNTERS = ("fed", "done", "running", "succeeded", "failed", "cancelled", "dead", "input_tokens", "output_tokens")


async def open_one(ledger: Ledger, batch: str, **more: Any) -> str:
    record = {"total": 4, "shards": 2, "input": "in.jsonl"}
    words: dict[str, Any] = {"template_sha": "sha", "template": b"{}", "window_ms": 1000, "tenant": "acme"}
    return await open_batch(ledger, batch, record=record, **words, **more)


async def test_an_open_batch_is_listed_and_counts_from_zero(ledger: Ledger, look: Any) -> None:
    batch = new_id("batch")
    await open_one(ledger, batch)
    record = await look.record(batch)
    assert (record["state"], record["total"], record["input"]) == ("in_progress", "4", "in.jsonl")
    assert {record[name] for name in COUNTERS} == {"0"}
    assert int(record["expires"]) - int(record["created"]) == 1000
    for listed in (ledger.keys.open, ledger.keys.batches("acme")):
        assert await ledger.client.zrange(listed, 0, -1) == [batch.encode()]
    assert await look.due() == set()


async def test_its_log_begins_with_its_state(ledger: Ledger, look: Any) -> None:
    batch = new_id("batch")
    await open_one(ledger, batch)
    ((number, event),) = await look.log(batch)
    assert number == f"{await look.field(batch, 'epoch')}-1"
    assert event.startswith(b'{"t":"batch.state","state":"in_progress","at":')
    assert b'"total":4,"succeeded":0' in event


async def test_the_template_lies_under_its_hash_for_a_month(ledger: Ledger) -> None:
    await open_one(ledger, new_id("batch"))
    assert await ledger.client.get(ledger.keys.template("sha")) == b"{}"
    assert TEMPLATE_MS - 60_000 < await ledger.client.pttl(ledger.keys.template("sha")) <= TEMPLATE_MS


async def test_sent_twice_it_is_one_batch_and_nothing_starts_over(ledger: Ledger, look: Any) -> None:
    batch = new_id("batch")
    await open_one(ledger, batch)
    await pause(ledger, batch, reason="no room")
    before = await look.everything()
    await open_one(ledger, batch)
    assert await look.everything() == before


async def test_of_two_that_do_the_same_at_once_the_second_joins_the_first(ledger: Ledger, look: Any) -> None:
    first, second, third = (new_id("batch") for _ in range(3))
    assert await open_one(ledger, first, work="a" * 64, joins=True) == first
    before = await look.everything()
    assert await open_one(ledger, second, work="a" * 64, joins=True) == first
    assert await look.everything() == before
    assert await open_one(ledger, second, work="b" * 64, joins=True) == second, "it does something else"
    assert await open_one(ledger, third, work="a" * 64) == third, "it was asked for anew"
    await ledger.client.hset(ledger.keys.batch(third), "state", "cancelling")
    fourth = new_id("batch")
    assert await open_one(ledger, fourth, work="a" * 64, joins=True) == fourth, "nothing more of the other one begins"


async def test_a_batch_is_followed_once(ledger: Ledger, look: Any, batch: str) -> None:
    """Whoever else has found what to ask again is told of the batch that asks."""
    words: dict[str, Any] = {"template_sha": "sha", "template": b"{}", "window_ms": LONG, "tenant": "default"}
    first, second = new_id("batch"), new_id("batch")
    for _ in range(2):  # a lost reply
        await open_batch(ledger, first, record={"total": 1}, follows=batch, **words)
    with pytest.raises(errors.Finished, match=first):
        await open_batch(ledger, second, record={"total": 1}, follows=batch, **words)
    assert await look.field(batch, "reasked_as") == first
    assert await look.record(second) == {}
    with pytest.raises(errors.Unknown):
        await open_batch(ledger, second, record={"total": 1}, follows=new_id("batch"), **words)
