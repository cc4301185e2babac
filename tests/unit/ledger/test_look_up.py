"""Look up: what is cached is given, and of those who ask what is not one answers it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.ledger.answer_cache import cache_use, still_calling
from headrace.ledger.keep_answers import Kept, keep_answers
from headrace.ledger.look_up import Flight, look_up
from headrace.ledger.script import Ledger

LONG, TTL = 10**9, 60_000
ANSWER = b"12345678 an answer"


async def ask(ledger: Ledger, *questions: tuple[str, str], process: str = "p", lease_ms: int = LONG) -> Any:
    return await look_up(ledger, questions, process=process, ttl_ms=TTL, lease_ms=lease_ms)


async def keep(ledger: Ledger, *group: Kept, process: str = "p") -> int:
    return await keep_answers(ledger, group, tenant="default", process=process, ttl_ms=TTL)


async def test_one_leads_and_the_others_wait_for_its_answer(ledger: Ledger) -> None:
    assert await ask(ledger, ("a", "job_1")) == [Flight.LEAD]
    assert await ask(ledger, ("a", "job_1")) == [Flight.LEAD], "sent twice"
    assert await ask(ledger, ("a", "job_2"), ("b", "job_2"), ("a", "")) == [Flight.WAIT, Flight.LEAD, Flight.NONE]
    assert await ask(ledger, ("a", "job_3"), process="other") == [Flight.WAIT]
    assert await keep(ledger, Kept("a", "job_1", "set", ANSWER)) == 1
    assert await ask(ledger, ("a", "job_3"), ("a", "")) == [ANSWER, ANSWER]
    assert (await cache_use(ledger)).hits == 2
    await ledger.client.delete(ledger.keys.cache("a"))
    assert await ask(ledger, ("a", "job_4")) == [Flight.LEAD], "nobody leads any more"


async def test_the_question_of_a_process_that_is_gone_passes_on(ledger: Ledger) -> None:
    assert await ask(ledger, ("a", "job_1"), process="dead") == [Flight.LEAD]
    await ledger.client.delete(ledger.keys.caller("dead"))
    assert await ask(ledger, ("a", "job_2"), process="next") == [Flight.LEAD]
    assert await ask(ledger, ("a", "job_3"), process="third") == [Flight.WAIT]
    assert await keep(ledger, Kept("a", "job_1", "leave"), process="dead") == 0
    assert await ask(ledger, ("a", "job_3"), process="third") == [Flight.WAIT], "it was not the dead one's to give"


async def test_a_record_takes_its_question_over_from_its_last_attempt(ledger: Ledger) -> None:
    assert await ask(ledger, ("a", "batch_x.s1"), process="first") == [Flight.LEAD]
    assert await ask(ledger, ("a", "batch_x.s1"), process="second") == [Flight.LEAD]


async def test_who_leads_says_that_it_lives(ledger: Ledger) -> None:
    await ask(ledger, ("a", "job_1"), lease_ms=50_000)
    assert 0 < await ledger.client.pttl(ledger.keys.caller("p")) <= 50_000
    await still_calling(ledger, "p", lease_ms=90_000)
    assert await ledger.client.pttl(ledger.keys.caller("p")) > 50_000


async def test_a_question_is_given_back_or_left_to_everybody(ledger: Ledger) -> None:
    await ask(ledger, ("a", "job_1"), ("b", "job_1"))
    await keep(ledger, Kept("a", "job_1", "leave"), Kept("b", "job_1", "fail"))
    found = await ask(ledger, ("a", "job_2"), ("b", "job_2"), ("b", "job_3"))
    assert found == [Flight.LEAD, Flight.NONE, Flight.NONE]


@pytest.mark.parametrize("foreign", ["", "x", "list"])
async def test_what_is_no_answer_is_a_miss(foreign: str, ledger: Ledger) -> None:
    key = ledger.keys.cache("a")
    await (ledger.client.rpush(key, "x") if foreign == "list" else ledger.client.set(key, foreign))
    assert await ask(ledger, ("a", "job_1")) == [Flight.LEAD]
    assert await keep(ledger, Kept("a", "job_1", "set", ANSWER)) == 1
    assert await ask(ledger, ("a", "job_1")) == [ANSWER]
