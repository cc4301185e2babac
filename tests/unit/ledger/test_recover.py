"""Recover: a crash with n calls in flight is 1/n of evidence against each; suspects go into quarantine; dead is who died
alone three times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.feed import feed
from headrace.ledger.finish import finish
from headrace.ledger.open import open_batch
from headrace.ledger.recover import recover, report_end, report_fault
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

EXPIRED, LONG = -1, 10**9

Hints = list[tuple[str, str]]


async def crash(ledger: Ledger, take: Any, record_id: str, token: str) -> Hints:
    await take(record_id, token=token, lease_ms=EXPIRED)
    return await recover(ledger)


async def jobs_of(ledger: Ledger, count: int) -> list[str]:
    return [await submit(ledger, new_id("job"), b"{}", queue="interactive") for _ in range(count)]


@pytest.fixture
def die(ledger: Ledger, take: Any) -> Callable[..., Awaitable[Hints]]:
    """A process that holds these records ends, and somebody sees it."""
    tokens = iter(range(1_000))

    async def die(*record_ids: str, owner: str = "q/1") -> Hints:
        for record_id in record_ids:
            await take(record_id, token=f"d{next(tokens)}", owner=owner)
        return await report_end(ledger, owner)

    return die


async def test_a_crashed_job_is_queued_again_under_its_epoch(ledger: Ledger, look: Any, take: Any) -> None:
    jobs = await jobs_of(ledger, 3)
    attempts = [await take(job, lease_ms=EXPIRED) for job in jobs]
    assert sorted(await recover(ledger)) == sorted(("interactive", job) for job in jobs)
    record = await look.record(jobs[0])
    assert (record["state"], record["epoch"], record["crashes"]) == ("queued", str(attempts[0].epoch), "1")
    assert record["evidence"] == "333333"
    assert not {"lease", "token", "owner"} & set(record)
    assert (await look.due(), await look.leased()) == (set(jobs), set())


async def test_a_running_lease_is_left_alone(ledger: Ledger, look: Any, attempt: Any) -> None:
    assert await recover(ledger) == []
    assert await look.state(attempt.record_id) == "running"


async def test_sent_twice_a_crash_counts_once(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await crash(ledger, take, job, "a")
    before = await look.everything()
    assert await recover(ledger) == []
    assert await look.everything() == before


async def test_alone_in_its_process_a_job_is_a_suspect_at_once(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    assert await crash(ledger, take, job, "a") == [("quarantine", job)]
    record = await look.record(job)
    assert (record["queue"], record["home"], record["company"]) == ("quarantine", "interactive", "1")


async def test_one_record_of_two_is_a_suspect_and_one_of_three_is_not(ledger: Ledger, take: Any) -> None:
    for count, queue in ((2, "quarantine"), (3, "interactive")):
        for job in await jobs_of(ledger, count):
            await take(job, lease_ms=EXPIRED)
        assert {queue_ for queue_, _ in await recover(ledger)} == {queue}


async def test_in_any_company_three_crashes_make_a_suspect(ledger: Ledger, look: Any, take: Any) -> None:
    jobs = await jobs_of(ledger, 40)
    for token, queue in (("a", "interactive"), ("b", "interactive"), ("c", "quarantine")):
        for job in jobs:
            await take(job, token=token, lease_ms=EXPIRED)
        assert {queue_ for queue_, _ in await recover(ledger)} == {queue}
    assert await look.field(jobs[0], "company") == "5"  # an eighth of those it crashed with


async def test_all_of_one_process_are_judged_together(ledger: Ledger, take: Any) -> None:
    """Its last claim came half a second after its last beat: that lease ends later, of the same crash."""
    first, last, other = await jobs_of(ledger, 3)
    await take(first, lease_ms=EXPIRED)
    await take(last, lease_ms=900)
    await take(other, lease_ms=900, owner="w2")
    assert {job for _, job in await recover(ledger)} == {first, last}


async def test_a_lost_answer_to_a_claim_is_no_crash(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    """The process beats, but does not know that it holds this one: queued again, nobody to blame."""
    await take(job, lease_ms=EXPIRED)
    await beat(ledger, {}, process="w1", lease_ms=LONG)
    assert await recover(ledger) == [("interactive", job)]
    assert await look.field(job, "crashes") == "0"


async def test_a_record_without_a_call_in_flight_is_not_blamed(
    ledger: Ledger, look: Any, batch: str, job: str, take: Any
) -> None:
    held = {record_id: (await take(record_id)).epoch for record_id in (job, f"{batch}.s0")}
    await beat(ledger, held, flights={job: 1, f"{batch}.s0": 0}, lease_ms=EXPIRED)
    assert sorted(await recover(ledger)) == [("bulk", f"{batch}.s0"), ("quarantine", job)]
    assert await look.field(f"{batch}.s0", "crashes") == "0"


async def test_a_process_that_was_seen_to_end_is_taken_back_at_once(ledger: Ledger, take: Any) -> None:
    jobs = await jobs_of(ledger, 4)
    for job, owner in zip(jobs, ("w1", "w1", "w1", "w2"), strict=True):
        await take(job, owner=owner)
    assert {job for _, job in await report_end(ledger, "w1")} == set(jobs[:3])
    assert await report_end(ledger, "w1") == []


async def test_a_worker_that_ended_takes_its_children_with_it(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await crash(ledger, take, job, "a")
    await take(job, token="b", owner="w1/3-f0")
    assert await report_end(ledger, "w") == []  # a longer name is another process
    assert await report_end(ledger, "w1") == [("quarantine", job)]
    assert await look.field(job, "alone") == "0"  # the child did not die of it: its worker went


async def test_after_three_deaths_alone_a_job_is_dead(ledger: Ledger, look: Any, job: str, take: Any, die: Any) -> None:
    assert await crash(ledger, take, job, "a") == [("quarantine", job)]
    assert [await die(job) for _ in range(3)] == [[("quarantine", job)], [("quarantine", job)], []]
    assert (await look.state(job), await look.field(job, "code")) == ("dead", "worker_lost")
    assert b'"status":"dead"' in (await look.log(job))[-1][1]
    assert b"worker_lost" in await ledger.client.get(f"{ledger.keys.job(job)}:result")
    assert await ledger.client.get(f"{ledger.keys.job(job)}:body") == b'{"v":1}'
    assert (await look.due(), await look.leased()) == (set(), set())
    with pytest.raises(errors.Dead):
        await take(job, token="e")


async def test_a_company_whose_process_died_is_divided_and_nobody_is_dead(
    ledger: Ledger, look: Any, take: Any, die: Any
) -> None:
    jobs = await jobs_of(ledger, 100)
    for token in "abc":
        for job in jobs:
            await take(job, token=token, lease_ms=EXPIRED)
        await recover(ledger)
    assert await look.field(jobs[0], "company") == "13"
    for size, company in ((13, "2"), (2, "1")):
        await die(*jobs[:size])
        assert {await look.field(job, "company") for job in jobs[:size]} == {company}
    assert {await look.field(job, "alone") for job in jobs} == {"0"}


async def test_when_the_whole_worker_goes_again_and_again_the_company_is_divided_too(
    ledger: Ledger, look: Any, take: Any
) -> None:
    jobs = await jobs_of(ledger, 2)
    for job in jobs:
        await ledger.client.hset(ledger.keys.job(job), mapping={"queue": "quarantine", "company": 2})
    companies = []
    for crash in range(15):
        for number, job in enumerate(jobs):
            await take(job, token=f"t{crash}", owner=f"w1/{number}", lease_ms=EXPIRED)
        await recover(ledger)
        companies.append(await look.field(jobs[0], "company"))
    assert companies == ["2"] * 2 + ["1"] * 12 + ["0"]  # at last nothing else runs in its worker
    assert await look.field(jobs[0], "alone") is None


async def test_the_record_that_stopped_the_loop_is_the_only_suspect(ledger: Ledger, look: Any, take: Any) -> None:
    guilty, *others = await jobs_of(ledger, 3)
    for job in (guilty, *others):
        await take(job)
    hints = await report_end(ledger, "w1", accused=guilty)
    assert sorted(hints) == sorted([("quarantine", guilty), *(("interactive", job) for job in others)])
    assert [await look.field(job, "crashes") for job in others] == ["0", "0"]


async def test_an_attempt_that_ended_in_an_error_is_its_records_own_death(ledger: Ledger, look: Any, take: Any) -> None:
    faulty, other = await jobs_of(ledger, 2)
    await take(other)
    hints = []
    for token in "abcd":
        await take(faulty, token=token)
        hints.append(await report_fault(ledger, "w1", faulty))
    assert hints == [[("quarantine", faulty)]] * 3 + [[]]
    assert (await look.state(faulty), await look.state(other)) == ("dead", "running")
    assert await report_fault(ledger, "w1", other) == [("quarantine", other)]


async def test_an_item_that_ended_in_an_error_runs_alone_first(ledger: Ledger, look: Any, take: Any) -> None:
    shard_id = f"{await batch_of_one_shard(ledger, 8)}.s0"
    await take(shard_id)
    assert await report_fault(ledger, "w1", shard_id, item="5") == [("quarantine", shard_id)]
    assert await asked(look, shard_id) == ("1", "1", "0")
    assert await look.field(shard_id, "item") == "5"


async def test_a_lease_that_ends_though_its_process_beats_is_its_records_own(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    """Its attempt is gone, and nobody said so."""
    attempt = await take(job)
    await beat(ledger, {job: attempt.epoch}, lease_ms=EXPIRED)
    await beat(ledger, {}, process="w1", lease_ms=LONG)
    assert await recover(ledger) == [("quarantine", job)]


async def test_jobs_finish_in_quarantine_as_anywhere(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    await crash(ledger, take, job, "a")
    alone = await take(job, token="b")
    await finish(ledger, job, alone.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    assert await look.state(job) == "succeeded"
    assert await ledger.client.exists(f"{ledger.keys.job(job)}:body") == 0


async def test_cancelled_while_it_ran_it_is_cancelled_and_keeps_its_body(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    await take(job, lease_ms=EXPIRED)
    await cancel(ledger, job)
    assert await recover(ledger) == []
    assert await look.state(job) == "cancelled"
    assert await ledger.client.pttl(f"{ledger.keys.job(job)}:body") > 0


async def test_a_crashed_shard_does_not_run_any_more(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    assert await crash(ledger, take, f"{batch}.s0", "a") == [("quarantine", f"{batch}.s0")]  # two items in flight
    assert [await look.field(batch, name) for name in ("running", "quarantined")] == ["0", "1"]


async def test_a_shard_that_made_way_is_not_blamed(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    shard_id = f"{batch}.s0"
    for index, token in enumerate("ab"):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [CheckpointRow(index, "s", b"x")], lease_ms=EXPIRED)
        assert await recover(ledger) == [("bulk", shard_id)]
        assert await look.field(shard_id, "crashes") == "0"


async def test_rows_that_were_there_already_are_no_progress(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    shard_id = f"{batch}.s0"
    for token, queue in (("a", "bulk"), ("b", "quarantine")):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [CheckpointRow(0, "s", b"x")], lease_ms=EXPIRED)
        await recover(ledger)
        assert await look.field(shard_id, "queue") == queue


async def test_a_shard_is_divided_then_names_its_suspect(ledger: Ledger, look: Any, take: Any, die: Any) -> None:
    """64 items, three crashes without a row: 32 at a time, four, then one by one, and the one that dies thrice is told."""
    shard_id = f"{await batch_of_one_shard(ledger, 64)}.s0"
    for token, queue in (("a", "bulk"), ("b", "bulk"), ("c", "quarantine")):
        assert await crash(ledger, take, shard_id, token) == [(queue, shard_id)]
    assert await asked(look, shard_id) == ("32", "64", "0")
    for company, suspects in (("4", "32"), ("1", "4")):
        assert await die(shard_id) == [("quarantine", shard_id)]
        assert await asked(look, shard_id) == (company, suspects, "0")
    for deaths in "123":
        attempt = await take(shard_id, token=deaths, owner="q/2")
        await checkpoint(ledger, shard_id, attempt.epoch, [], item="5")
        await report_end(ledger, "q/2")
        assert await asked(look, shard_id) == ("1", "1", deaths)
    attempt = await take(shard_id, token="e")
    assert (attempt.integer("alone"), attempt.record["item"]) == (3, b"5")
    await checkpoint(ledger, shard_id, attempt.epoch, [CheckpointRow(5, "d", b"its worker died")])
    await release(ledger, shard_id, attempt.epoch, calls="", home=True)
    assert (await asked(look, shard_id))[2] == "0"


async def test_the_suspects_of_a_shard_are_those_that_were_in_flight(ledger: Ledger, look: Any, take: Any) -> None:
    shard_id = f"{await batch_of_one_shard(ledger, 64)}.s0"
    for token in "abc":
        attempt = await take(shard_id, token=token)
        await beat(ledger, {shard_id: attempt.epoch}, flights={shard_id: 8}, lease_ms=EXPIRED)
        await recover(ledger)
    assert await asked(look, shard_id) == ("8", "16", "0")


async def test_deaths_of_one_item_do_not_count_against_another(ledger: Ledger, look: Any, take: Any) -> None:
    shard_id = f"{await batch_of_one_shard(ledger, 4)}.s0"
    await ledger.client.hset(ledger.keys.shard(shard_id), mapping={"queue": "quarantine", "company": 1})
    for token, item in (("a", "0"), ("b", "1")):
        attempt = await take(shard_id, token=token, owner="q/1")
        await checkpoint(ledger, shard_id, attempt.epoch, [], item=item)
        await report_end(ledger, "q/1")
        assert await look.field(shard_id, "alone") == "1"


async def batch_of_one_shard(ledger: Ledger, items: int) -> str:
    batch_id = new_id("batch")
    record = {"total": items, "shards": 1, "input": "in.jsonl"}
    await open_batch(
        ledger, batch_id, template_sha="s", template=b"{}", window_ms=LONG, tenant="default", record=record
    )
    await feed(ledger, batch_id, 0, [ShardRange(0, items, 0, 10)], queue="bulk")
    return batch_id


async def asked(look: Any, shard_id: str) -> tuple[str, ...]:
    record = await look.record(shard_id)
    return tuple(record[name] for name in ("company", "suspects", "alone"))


async def test_a_join_is_never_put_into_quarantine(ledger: Ledger, join: Any, take: Any) -> None:
    await ledger.client.zadd(ledger.keys.leases, {join.record_id: 0})
    assert await recover(ledger) == [("bulk", join.record_id)]
    for token in "bcd":
        assert await crash(ledger, take, join.record_id, token) == [("bulk", join.record_id)]


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


async def test_a_lease_of_what_is_no_record_keeps_nobody_waiting(
    ledger: Ledger, look: Any, attempt: Any, take: Any
) -> None:
    odd = new_id("job")
    await ledger.client.set(ledger.keys.job(odd), "a text", px=60_000)
    await ledger.client.zadd(ledger.keys.leases, {odd: 0, b"\xff\xfe": 0, attempt.record_id: 1})
    assert await recover(ledger) == [("quarantine", attempt.record_id)]
    assert await look.leased() == set()


async def test_a_shard_that_crashes_again_and_again_is_suspect_whatever_it_achieved(ledger: Ledger, take: Any) -> None:
    """One poisonous item among many: each attempt gets a little further, and kills its worker again."""
    shard_id = f"{await batch_of_one_shard(ledger, 40)}.s0"
    for number, token in enumerate("abc"):
        attempt = await take(shard_id, token=token)
        await checkpoint(ledger, shard_id, attempt.epoch, [CheckpointRow(number, "s", b"{}")])
        await ledger.client.zadd(ledger.keys.leases, {shard_id: 0})
        (hint,) = await recover(ledger)
        assert hint[0] == ("quarantine" if token == "c" else "bulk")
