"""Recover: a lease that ran out is a crash. Two in a row lead into quarantine; of two alone, a job dies."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.job import new_id
from headrace.ledger.checkpoint import Row, checkpoint
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit

EXPIRED = -1


async def crash(ledger: Ledger, take: Any, record_id: str, token: str) -> list[tuple[str, str]]:
    await take(record_id, token=token, lease_ms=EXPIRED)
    return await recover(ledger)


async def test_a_crashed_job_is_queued_again_under_its_epoch(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    attempt = await take(job, lease_ms=EXPIRED)
    assert await recover(ledger) == [("interactive", job)]
    record = await look.record(job)
    assert (record["state"], record["epoch"], record["crashes"]) == ("queued", str(attempt.epoch), "1")
    assert not {"lease", "token", "owner"} & set(record)
    assert (await look.due(), await look.leased()) == ({job}, set())


async def test_a_running_lease_is_left_alone(ledger: Ledger, look: Any, attempt: Any) -> None:
    assert await recover(ledger) == []
    assert await look.state(attempt.record_id) == "running"


async def test_sent_twice_a_crash_counts_once(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await crash(ledger, take, job, "a")
    before = await look.everything()
    assert await recover(ledger) == []
    assert await look.everything() == before


async def test_after_two_crashes_a_job_runs_alone(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    assert await crash(ledger, take, job, "a") == [("interactive", job)]
    assert await crash(ledger, take, job, "b") == [("quarantine", job)]
    record = await look.record(job)
    assert (record["queue"], record["home"], record["crashes"]) == ("quarantine", "interactive", "0")


async def test_after_two_crashes_alone_a_job_is_dead(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    hints = [await crash(ledger, take, job, token) for token in "abcd"]
    assert hints == [[("interactive", job)], [("quarantine", job)], [("quarantine", job)], []]
    assert (await look.state(job), await look.field(job, "code")) == ("dead", "worker_lost")
    assert b'"status":"dead"' in (await look.log(job))[-1][1]
    assert b"worker_lost" in await ledger.client.get(f"{ledger.keys.job(job)}:result")
    assert (await look.due(), await look.leased()) == (set(), set())
    with pytest.raises(errors.Dead):
        await take(job, token="e")


async def test_a_crashed_shard_does_not_run_any_more(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    assert await crash(ledger, take, f"{batch}.s0", "a") == [("bulk", f"{batch}.s0")]
    assert await look.field(batch, "running") == "0"
    assert await look.field(f"{batch}.s0", "crashes") == "1"


async def test_a_shard_that_made_way_is_not_blamed(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    shard_id = f"{batch}.s0"
    await crash(ledger, take, shard_id, "a")
    for index, token in enumerate("bc"):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [Row(index, "s", b"x")], lease_ms=EXPIRED)
        assert await recover(ledger) == [("bulk", shard_id)]
        assert await look.field(shard_id, "crashes") == "0"


async def test_rows_that_were_there_already_are_no_progress(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    shard_id = f"{batch}.s0"
    for token, crashes in (("a", "0"), ("b", "1")):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [Row(0, "s", b"x")], lease_ms=EXPIRED)
        await recover(ledger)
        assert await look.field(shard_id, "crashes") == crashes


async def test_in_quarantine_a_shard_never_dies_but_names_its_suspect(ledger: Ledger, batch: str, take: Any) -> None:
    """Two crashes, then two more alone while item 1 ran: the next claim sees both facts and writes that item's row."""
    shard_id = f"{batch}.s0"
    assert await crash(ledger, take, shard_id, "a") == [("bulk", shard_id)]
    assert await crash(ledger, take, shard_id, "b") == [("quarantine", shard_id)]
    for token in "cd":
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [], item="1", lease_ms=EXPIRED)
        assert await recover(ledger) == [("quarantine", shard_id)]
    attempt = await take(shard_id, token="e")
    assert (attempt.integer("crashes"), attempt.record["item"]) == (2, b"1")
    await checkpoint(ledger, shard_id, attempt.epoch, [Row(1, "d", b"its worker died")])
    assert (await take(shard_id, token="e")).integer("crashes") == 0


async def test_a_join_is_never_put_into_quarantine(ledger: Ledger, join: Any, take: Any) -> None:
    await checkpointless_expiry(ledger, join.record_id)
    assert await recover(ledger) == [("bulk", join.record_id)]
    for token in "bc":
        assert await crash(ledger, take, join.record_id, token) == [("bulk", join.record_id)]


async def checkpointless_expiry(ledger: Ledger, record_id: str) -> None:
    await ledger.client.zadd(ledger.keys.leases, {record_id: 0})


async def test_a_sweep_is_bounded(ledger: Ledger, take: Any) -> None:
    jobs = [await submit(ledger, new_id("job"), b"{}", queue="bulk") for _ in range(3)]
    for job in jobs:
        await take(job, lease_ms=EXPIRED)
    first, second = await recover(ledger, limit=2), await recover(ledger, limit=2)
    assert (len(first), len(second)) == (2, 1)
    assert {job for _, job in first + second} == set(jobs)


async def test_a_lease_without_a_record_is_dropped(ledger: Ledger, look: Any) -> None:
    await ledger.client.zadd(ledger.keys.leases, {new_id("job"): 0})
    assert await recover(ledger) == []
    assert await look.leased() == set()


async def test_a_shard_that_crashes_again_and_again_is_suspect_whatever_it_achieved(
    ledger: Ledger, batch: str, take: Any
) -> None:
    """One poisonous item among many: each attempt gets a little further, and kills its worker again."""
    shard_id = f"{batch}.s0"
    for number, token in enumerate("abcd"):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [Row(number, "s", b"{}")])
        await ledger.client.zadd(ledger.keys.leases, {shard_id: 0})
        (hint,) = await recover(ledger)
        assert hint[0] == ("quarantine" if token == "d" else "bulk")
