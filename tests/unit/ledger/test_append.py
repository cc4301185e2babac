"""Append: numbered events, stored and published in one call; what is stored already is skipped, a gap is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append, append_call, append_together
from headrace.ledger.cancel import cancel
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

TWO = [b'{"t":"text.delta","d":"a"}', b'{"t":"text.delta","d":"b"}']


async def test_events_follow_the_start_under_their_own_numbers(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    assert await append(ledger, job, attempt.epoch, 2, TWO) == ""
    log = await look.log(job)
    assert [number for number, _ in log] == [f"{attempt.epoch}-{n}" for n in (1, 2, 3)]
    assert [event for _, event in log[1:]] == TWO
    assert await look.field(job, "seq") == "3"


async def test_a_watcher_gets_each_event_with_the_number_it_has_in_the_log(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    async with ledger.client.pubsub() as watcher:
        await watcher.subscribe(f"{ledger.keys.job(job)}:ch")
        await watcher.get_message(timeout=1)
        await append(ledger, job, attempt.epoch, 2, TWO)
        heard = [(await watcher.get_message(timeout=1))["data"] for _ in TWO]
    assert heard == [b"%s %s" % (number.encode(), event) for number, event in (await look.log(job))[1:]]


async def test_of_a_large_event_a_watcher_gets_only_the_number(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    sizes = (65_536, 65_537)
    async with ledger.client.pubsub() as watcher:
        await watcher.subscribe(f"{ledger.keys.job(job)}:ch")
        await watcher.get_message(timeout=1)
        await append(ledger, job, attempt.epoch, 2, [b"x" * size for size in sizes])
        heard = [(await watcher.get_message(timeout=1))["data"] for _ in sizes]
    assert [len(event) for _, event in (await look.log(job))[1:]] == [*sizes]
    assert heard == [b"%d-2 %s" % (attempt.epoch, b"x" * sizes[0]), b"%d-3" % attempt.epoch]


async def test_many_in_one_round_trip_each_get_their_own_answer(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    calls = [
        append_call(ledger, job, attempt.epoch, 2, TWO),
        append_call(ledger, job, attempt.epoch, 9, TWO),
        append_call(ledger, new_id("job"), 1, 2, TWO),
    ]
    await ledger.client.script_flush()
    done, gap, unknown = await append_together(ledger, calls)
    assert (done, type(gap), type(unknown)) == ("", errors.Gap, errors.Unknown)
    assert [event for _, event in (await look.log(job))[1:]] == TWO


async def test_a_damaged_job_does_not_fail_its_neighbours(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    broken = new_id("job")
    await ledger.client.set(ledger.keys.job(broken), "no hash", px=60_000)
    calls = [append_call(ledger, name, attempt.epoch, 2, TWO) for name in (broken, job)]
    failed, done = await append_together(ledger, calls)
    assert isinstance(failed, errors.Damaged)
    assert done == ""
    (alone,) = await append_together(ledger, calls[:1])
    assert isinstance(alone, errors.Damaged)
    assert await append_together(ledger, []) == []


async def test_a_writer_that_the_server_has_lost_learns_so(ledger: Ledger, job: str, attempt: Any) -> None:
    """It came back from an old copy, where the job is not claimed yet: no zombie, whoever holds it may restore it."""
    with pytest.raises(errors.Unknown):
        await append(ledger, job, attempt.epoch + 1, 2, TWO)


async def test_sent_twice_an_event_is_stored_once(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    for _ in range(2):
        await append(ledger, job, attempt.epoch, 2, TWO)
    assert len(await look.log(job)) == 3


async def test_an_overlap_adds_only_its_new_end(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await append(ledger, job, attempt.epoch, 2, TWO)
    await append(ledger, job, attempt.epoch, 3, [TWO[1], b"{}"])
    assert [event for _, event in (await look.log(job))[1:]] == [*TWO, b"{}"]


async def test_a_gap_names_the_number_expected(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    with pytest.raises(errors.Gap) as gap:
        await append(ledger, job, attempt.epoch, 4, TWO)
    assert gap.value.detail == "2"
    assert len(await look.log(job)) == 1


async def test_append_brings_back_a_cancellation(ledger: Ledger, job: str, attempt: Any) -> None:
    await cancel(ledger, job, reason="enough")
    assert await append(ledger, job, attempt.epoch, 2, TWO) == "enough"


async def test_events_come_home_after_the_lease_as_long_as_nobody_else_began(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    attempt = await take(job, lease_ms=-1)
    await recover(ledger)
    await append(ledger, job, attempt.epoch, 2, TWO)
    assert len(await look.log(job)) == 3
    assert await look.state(job) == "queued"


async def test_a_zombie_cannot_append(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await append(ledger, zombie.record_id, zombie.epoch, 2, TWO)
    assert await look.everything() == before


async def test_nothing_is_written_before_the_first_claim_nor_after_the_end(
    ledger: Ledger, look: Any, job: str, take: Any
) -> None:
    with pytest.raises(errors.Fenced):
        await append(ledger, job, 0, 1, TWO)
    with pytest.raises(errors.Unknown):
        await append(ledger, new_id("job"), 1, 1, TWO)
    attempt = await take(job)
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    with pytest.raises(errors.Closed, match="succeeded"):
        await append(ledger, job, attempt.epoch, 3, TWO)
    assert len(await look.log(job)) == 2
