"""Beat: one call renews every lease of a process and says which records it must let go."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace.jobs.job import new_id
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.finish import finish
from headrace.ledger.pause import pause
from headrace.ledger.recover import recover
from headrace.ledger.script import FOLDER, Ledger
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget
from headrace.ledger.state import JobState
from headrace.ledger.stop_reason import StopReason
from headrace.ledger.submit import submit

EXPIRED, LONG = -1, 10**9


async def test_a_beat_renews_jobs_and_shards_in_one_call(
    ledger: Ledger, look: Any, job: str, batch: str, take: Any
) -> None:
    attempt, shard = await take(job, lease_ms=EXPIRED), await take(f"{batch}.s0", lease_ms=EXPIRED)
    held = {job: attempt.epoch, shard.record_id: shard.epoch}
    assert await beat(ledger, held, lease_ms=LONG) == {}
    assert await recover(ledger) == []
    assert await look.leased() == set(held)


async def test_a_beat_that_stops_lets_the_lease_run_out(ledger: Ledger, attempt: Any) -> None:
    await beat(ledger, {attempt.record_id: attempt.epoch}, lease_ms=EXPIRED)
    assert await recover(ledger) == [("quarantine", attempt.record_id)]


async def test_beating_twice_changes_the_clock_alone(ledger: Ledger, look: Any, attempt: Any) -> None:
    assert await beat(ledger, {attempt.record_id: attempt.epoch}, process="w1") == {}
    before = await look.everything()
    for _ in range(2):
        assert await beat(ledger, {attempt.record_id: attempt.epoch}, process="w1") == {}
    assert await look.everything() == before


async def test_beat_brings_back_a_cancellation_and_keeps_the_lease(ledger: Ledger, look: Any, attempt: Any) -> None:
    await cancel(ledger, attempt.record_id)
    assert await beat(ledger, {attempt.record_id: attempt.epoch}) == {attempt.record_id: "CANCELLED"}
    assert await look.leased() == {attempt.record_id}


async def test_beat_brings_back_what_became_of_the_batch(ledger: Ledger, batch: str, shard: Any) -> None:
    held = {shard.record_id: shard.epoch}
    await pause(ledger, batch, reason="no room")
    assert await beat(ledger, held) == {shard.record_id: "PAUSED"}
    await cancel(ledger, batch)
    assert await beat(ledger, held) == {shard.record_id: "CANCELLED"}


async def test_beat_brings_back_that_a_budget_was_set(ledger: Ledger, batch: str, shard: Any) -> None:
    held = {shard.record_id: shard.epoch}
    assert await beat(ledger, held, unbudgeted=held) == {}
    await set_batch_budget(ledger, batch, 5)
    assert await beat(ledger, held) == {}, "it keeps it"
    assert await beat(ledger, held, unbudgeted=held) == {shard.record_id: "BUDGETED"}
    await pause(ledger, batch, reason="no room")
    assert await beat(ledger, held, unbudgeted=held) == {shard.record_id: "PAUSED"}


@pytest.mark.parametrize("of_day", [True, False])
async def test_beat_brings_back_that_a_budget_of_all_work_was_set(of_day: bool, ledger: Ledger, shard: Any) -> None:
    held = {shard.record_id: shard.epoch}
    await set_tenant_budget(ledger, "default", 5, of_day=of_day)
    assert await beat(ledger, held, unbudgeted=held) == {shard.record_id: "BUDGETED"}
    await set_tenant_budget(ledger, "default", None, of_day=of_day)
    assert await beat(ledger, held, unbudgeted=held) == {}


async def test_a_zombie_does_not_keep_the_lease_of_another(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await ledger.client.zscore(ledger.keys.leases, zombie.record_id)
    assert await beat(ledger, {zombie.record_id: zombie.epoch}, lease_ms=1) == {zombie.record_id: "FENCED"}
    assert await ledger.client.zscore(ledger.keys.leases, zombie.record_id) == before


async def test_each_refusal_stands_by_its_record(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    lost = new_id("job")
    assert await beat(ledger, {job: attempt.epoch, lost: 1}) == {job: "CLOSED", lost: "UNKNOWN"}
    assert await look.leased() == set()


async def test_epoch_0_holds_nothing(ledger: Ledger, look: Any, job: str) -> None:
    assert await beat(ledger, {job: 0}) == {job: "FENCED"}
    assert await look.leased() == set()


async def test_a_record_that_was_taken_back_but_not_given_away_gets_no_lease(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    attempt = await take(job, lease_ms=EXPIRED)
    await recover(ledger)
    assert await beat(ledger, {job: attempt.epoch}) == {job: "REQUEUED"}
    assert (await look.leased(), await look.due()) == (set(), {job})


async def test_nothing_held_is_nothing_sent(ledger: Ledger) -> None:
    assert await beat(ledger, {}) == {}


async def test_a_damaged_record_costs_its_neighbours_nothing(
    ledger: Ledger, look: Any, job: str, batch: str, take: Any
) -> None:
    attempt, shard = await take(job, lease_ms=EXPIRED), await take(f"{batch}.s0", lease_ms=EXPIRED)
    text, no_epoch = new_id("job"), await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await ledger.client.set(ledger.keys.job(text), "no hash", px=60_000)
    await ledger.client.hset(ledger.keys.job(no_epoch), "epoch", "x")
    held = {text: 1, no_epoch: 1, job: attempt.epoch, shard.record_id: shard.epoch}
    assert await beat(ledger, held, lease_ms=LONG) == {text: "DAMAGED", no_epoch: "DAMAGED"}
    assert await recover(ledger) == []


def test_every_answer_of_a_beat_is_a_reason_to_stop_or_ok() -> None:
    texts = [(FOLDER / name).read_text() for name in ("beat.lua", "fragments/fence.lua")]
    words = {word for text in texts for word in re.findall(r"(?:answer = |\{ )'([A-Z]+)'", text)}
    assert words - {"OK"} == set(StopReason) - {StopReason.EXPIRED}
