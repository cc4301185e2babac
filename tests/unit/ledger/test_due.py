"""Due: what is queued gets its hint again, ever more rarely; what is parked is queued when its time has come."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.jobs.job import new_id
from headrace.ledger.due import due
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.resume import resume
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit


async def test_a_fresh_job_is_left_to_its_first_hint(ledger: Ledger, job: str) -> None:
    assert await due(ledger) == []


async def test_a_job_whose_hint_was_lost_gets_another(ledger: Ledger, look: Any, job: str) -> None:
    await look.hurry()
    assert await due(ledger) == [("interactive", job)]
    assert await look.state(job) == "queued"


async def test_sent_twice_it_publishes_once(ledger: Ledger, look: Any, job: str) -> None:
    await look.hurry()
    await due(ledger)
    assert await due(ledger) == []
    assert await look.due() == {job}


async def test_the_wait_doubles_up_to_a_limit(ledger: Ledger, look: Any, job: str) -> None:
    waits = []
    for _ in range(5):
        await look.hurry()
        seconds, microseconds = await ledger.client.time()
        await due(ledger, first_wait_ms=100_000, longest_wait_ms=1_000_000)
        score = await ledger.client.zscore(ledger.keys.due, job)
        waits.append(round((score - seconds * 1000 - microseconds / 1000) / 100_000))
    assert waits == [2, 4, 8, 10, 10]


async def test_a_parked_job_is_queued_and_counts_its_hints_anew(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await park(ledger, job, attempt.epoch, delay_ms=0, calls="", reason="rate_limited")
    assert await due(ledger) == [("interactive", job)]
    assert (await look.state(job), await look.field(job, "hints")) == ("queued", "1")


async def test_drops_entries_of_running_and_missing_records(ledger: Ledger, look: Any, attempt: Any) -> None:
    """A server that lost its last second may have both: an entry, and a record that runs or is gone."""
    await ledger.client.zadd(ledger.keys.due, {attempt.record_id: 0, new_id("job"): 0})
    assert await due(ledger) == []
    assert await look.due() == set()
    assert await look.state(attempt.record_id) == "running"


async def test_shards_of_a_paused_batch_wait_until_it_goes_on(ledger: Ledger, look: Any, batch: str) -> None:
    await pause(ledger, batch, reason="no room")
    await look.hurry()
    assert await due(ledger) == []
    await resume(ledger, batch)
    await look.hurry()
    assert sorted(await due(ledger)) == [("bulk", f"{batch}.s0"), ("bulk", f"{batch}.s1")]


async def test_a_sweep_is_bounded_and_the_oldest_come_first(ledger: Ledger) -> None:
    jobs = [await submit(ledger, new_id("job"), b"{}", queue="bulk") for _ in range(3)]
    await ledger.client.zadd(ledger.keys.due, {job: number for number, job in enumerate(jobs)})
    assert [job for _, job in await due(ledger, limit=2)] == jobs[:2]
    assert [job for _, job in await due(ledger, limit=2)] == jobs[2:]


@pytest.mark.parametrize("field", ["queue", "kind", "epoch"])
async def test_a_damaged_record_costs_its_neighbours_nothing(ledger: Ledger, look: Any, job: str, field: str) -> None:
    others = [await submit(ledger, new_id("job"), b"{}", queue="interactive") for _ in range(3)]
    text, rubbish = new_id("job"), b"job_\xff"
    await ledger.client.hdel(ledger.keys.job(others[0]), field)
    await ledger.client.hset(ledger.keys.job(others[1]), "hints", "many")
    await ledger.client.set(ledger.keys.job(text), "no hash", px=60_000)
    await ledger.client.hset(
        f"{ledger.keys.prefix}:job:".encode() + rubbish, mapping={"state": "queued", "queue": "bulk"}
    )
    await ledger.client.pexpire(f"{ledger.keys.prefix}:job:".encode() + rubbish, 60_000)
    await ledger.client.zadd(ledger.keys.due, {text: 0, rubbish: 0})
    await look.hurry()
    told: list[tuple[str, str]] = []
    hints = await due(ledger, on_damage=lambda *what: told.append(what))
    assert sorted(hints) == sorted(("interactive", each) for each in (job, others[2]))
    assert {why for _, why in told} == {f"no {field}", "hints is no number", "no hash", "no id"}
    assert await look.due() == {job, others[2]}
    await ledger.client.delete(f"{ledger.keys.prefix}:job:".encode() + rubbish)


async def test_a_queue_that_nobody_reads_is_damage(ledger: Ledger, look: Any, job: str) -> None:
    await ledger.client.hset(ledger.keys.job(job), "queue", "nowhere")
    await look.hurry()
    assert await due(ledger) == []
    assert await look.field(job, "code") == "damaged"
