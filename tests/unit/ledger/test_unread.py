"""Unread: a client's own retry is handed the job whose answer did not reach it, and each retry another one."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import Busy
from headrace.jobs.job import new_id
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit
from headrace.ledger.unread import (
    UNREAD_MS,
    UnreadAnswer,
    WaitingClient,
    mark_disconnected,
    mark_read,
    mark_unconfirmed,
    renew_gateway,
)

ASKED = "0" * 64


async def ask(
    ledger: Ledger, *, gateway: str = "here", again: bool = False, asked: str = ASKED, token: str = ""
) -> UnreadAnswer:
    token = token or new_id("job")
    job = await submit(ledger, token, b"{}", queue="interactive", waiter=WaitingClient(gateway, again, asked))
    return UnreadAnswer("default", asked, job, token)


async def test_one_who_left_is_followed_by_the_retry_and_by_no_other_request(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    assert (await ask(ledger, again=True, asked="1" * 64)).job != first.job
    assert (await ask(ledger, again=True)).job == first.job


async def test_a_retry_that_is_sent_twice_is_one(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    again = await ask(ledger, again=True)
    assert await ask(ledger, again=True, token=again.token) == again
    assert await ledger.client.hlen(ledger.keys.unread("default", ASKED)) == 1


async def test_several_who_left_are_each_followed_by_a_retry_of_their_own(ledger: Ledger) -> None:
    left = [await ask(ledger) for _ in range(5)]
    for one in left:
        await mark_disconnected(ledger, one)
    found = [await ask(ledger, again=True) for _ in range(5)]
    assert {one.job for one in found} == {one.job for one in left}


async def test_several_whose_leaving_was_hidden_are_each_followed_by_a_retry_of_their_own(ledger: Ledger) -> None:
    held = [await ask(ledger) for _ in range(5)]
    unread = ledger.keys.unread("default", ASKED)
    for number, one in enumerate(reversed(held)):  # in another order than that of their entries
        await ledger.client.hset(unread, one.job, f"held here {one.token} {number}")
    found = [await ask(ledger, again=True) for _ in range(5)]
    assert [one.job for one in found] == [one.job for one in reversed(held)]


async def test_retries_take_disconnected_answers_before_those_of_another_gateway(ledger: Ledger) -> None:
    there = await ask(ledger, gateway="there")
    here, left = await ask(ledger), await ask(ledger)
    await mark_disconnected(ledger, left)
    assert (await ask(ledger, again=True)).job == left.job
    assert (await ask(ledger, again=True)).job == there.job
    assert (await ask(ledger, again=True)).job in (here.job, left.job, there.job)


async def test_retries_take_disconnected_answers_before_unconfirmed_ones(ledger: Ledger) -> None:
    answered = await ask(ledger)
    await mark_unconfirmed(ledger, answered)
    left = await ask(ledger)
    await mark_disconnected(ledger, left)
    assert (await ask(ledger, again=True)).job == left.job
    assert (await ask(ledger, again=True)).job == answered.job


async def test_the_word_of_a_request_that_was_followed_changes_nothing(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    second = await ask(ledger, again=True)
    unread = ledger.keys.unread("default", ASKED)
    before = await ledger.client.hgetall(unread)
    await mark_read(ledger, [first])
    await mark_disconnected(ledger, first)
    assert await ledger.client.hgetall(unread) == before
    await mark_disconnected(ledger, second)
    assert (await ask(ledger, again=True)).job == first.job


async def test_read_answers_are_handed_to_no_retry(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_read(ledger, [first])
    await mark_disconnected(ledger, first)
    assert (await ask(ledger, again=True)).job != first.job


async def end(ledger: Ledger, job: str, *, ago_ms: int = 0) -> str:
    """End it as a worker would, so long ago; returns its record's key."""
    record = ledger.keys.job(job)
    now_ms = 1000 * (await ledger.client.time())[0]
    await ledger.client.hset(record, mapping={"state": "succeeded", "ended": now_ms - ago_ms})
    await ledger.client.pexpire(record, 60_000)
    await ledger.client.set(f"{record}:result", b"{}", px=60_000)
    return record


@pytest.mark.parametrize("why", ["old", "without its result", "without its record"])
async def test_an_answer_that_is_no_longer_there_is_asked_for_anew(ledger: Ledger, why: str) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    record = await end(ledger, first.job, ago_ms=2 * UNREAD_MS if why == "old" else 0)
    if why == "without its result":
        await ledger.client.delete(f"{record}:result")
    if why == "without its record":
        await ledger.client.delete(record)
    assert (await ask(ledger, again=True)).job != first.job
    assert first.job.encode() not in await ledger.client.hgetall(ledger.keys.unread("default", ASKED))


async def test_an_answer_that_is_there_is_handed_on_after_its_end(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    await end(ledger, first.job, ago_ms=UNREAD_MS // 2)
    assert (await ask(ledger, again=True)).job == first.job


async def test_an_equal_request_is_given_what_was_left_and_nothing_that_somebody_waits_for(ledger: Ledger) -> None:
    for gateway in ("here", "there"):
        await renew_gateway(ledger, gateway)
    left, held, sent, there = [await ask(ledger) for _ in range(3)] + [await ask(ledger, gateway="there")]
    await mark_disconnected(ledger, left)
    await mark_unconfirmed(ledger, sent)
    assert (await ask(ledger)).job == left.job
    assert (await ask(ledger)).job not in (left.job, held.job, sent.job, there.job)
    assert (await ask(ledger, asked="1" * 64)).job != left.job


async def test_whoever_waited_at_a_dead_gateway_is_gone(ledger: Ledger) -> None:
    await renew_gateway(ledger, "there")
    there = await ask(ledger, gateway="there")
    assert (await ask(ledger)).job != there.job
    await ledger.client.delete(ledger.keys.gateway("there"))
    assert (await ask(ledger)).job == there.job
    assert (await ask(ledger)).job != there.job, "it is held here now"


async def test_so_is_whoever_waited_at_a_gateway_whose_subscription_has_ended(ledger: Ledger) -> None:
    key = ledger.keys.gateway("there")
    assert not await renew_gateway(ledger, "there")
    async with ledger.client.pubsub() as subscription:
        await subscription.subscribe(key)
        assert await subscription.get_message(timeout=5)
        assert await renew_gateway(ledger, "there", watched=True)
        there = await ask(ledger, gateway="there")
        assert (await ask(ledger)).job != there.job
        await subscription.unsubscribe(key)
        assert await subscription.get_message(timeout=5)
    unwatched = await ask(ledger, gateway="elsewhere", asked="1" * 64)
    await renew_gateway(ledger, "elsewhere")
    assert (await ask(ledger)).job == there.job
    assert (await ask(ledger, asked="1" * 64)).job != unwatched.job, "only its lease says whether it is there"


async def test_of_a_silent_gateway_it_is_not_known_yet(ledger: Ledger) -> None:
    await renew_gateway(ledger, "there")
    there = await ask(ledger, gateway="there")
    await ledger.client.pexpire(ledger.keys.gateway("there"), 3000)
    with pytest.raises(Busy) as silent:
        await ask(ledger)
    assert 2000 < int(silent.value.detail) <= 3000
    assert (await ask(ledger, again=True)).job == there.job
    jobs = [key async for key in ledger.client.scan_iter(ledger.keys.job("*"))]
    assert jobs == [ledger.keys.job(there.job).encode()]


async def test_an_answer_is_kept_as_long_as_the_gateway_says(ledger: Ledger) -> None:
    first = await ask(ledger)
    await mark_disconnected(ledger, first)
    await end(ledger, first.job, ago_ms=5000)
    waiter = WaitingClient("here", again=False, asked=ASKED, keep_ms=1000)
    assert await submit(ledger, token := new_id("job"), b"{}", queue="interactive", waiter=waiter) == token


async def test_unread_has_a_bound_and_a_lifetime(ledger: Ledger) -> None:
    unread = ledger.keys.unread("default", ASKED)
    await ask(ledger)
    assert 0 < await ledger.client.pttl(unread) <= 25 * 3600_000
    await ledger.client.hset(unread, mapping={f"job_{n}": "held here t 1" for n in range(999)})
    await ask(ledger)
    assert await ledger.client.hlen(unread) == 1000


async def test_a_caller_without_a_connection_leaves_no_entry(ledger: Ledger, look: Any) -> None:
    await submit(ledger, new_id("job"), b"{}", queue="interactive")
    assert not [key for key in await look.everything() if ":unread:" in str(key)]
