"""The breaker opens with failures in a row, whoever's they are, and is told to all; a probe's failure opens it for longer."""

from __future__ import annotations

import pytest

from headrace.ledger.breaker_close import breaker_close
from headrace.ledger.breaker_fail import BreakerState, breaker_fail, parse_breaker
from headrace.ledger.breaker_probe import breaker_probe
from headrace.ledger.breaker_record import open_breakers
from headrace.ledger.script import Ledger

SCOPE, NAME = "openai.0", "openai/gpt"


async def fail(ledger: Ledger, process: str, failures: int, **words: object) -> BreakerState:
    return await breaker_fail(ledger, SCOPE, NAME, process=process, failures=failures, **words)  # pyright: ignore[reportArgumentType]


async def test_failures_of_all_processes_count_together(ledger: Ledger) -> None:
    assert await fail(ledger, "a", 1) == BreakerState("closed")
    assert await fail(ledger, "a", 2) == BreakerState("closed")
    assert await fail(ledger, "b", 1) == BreakerState("closed")
    assert await fail(ledger, "b", 2) == BreakerState("closed")
    assert await open_breakers(ledger) == []
    assert await fail(ledger, "c", 1) == BreakerState("open", 5_000)
    (record,) = await open_breakers(ledger)
    assert (record.scope, record.name) == (SCOPE, NAME)
    assert 0 < record.wait_ms <= 5_000


async def test_a_report_that_is_sent_twice_counts_once(ledger: Ledger) -> None:
    for _ in range(9):
        assert (await fail(ledger, "a", 4)).state == "closed"
    assert (await fail(ledger, "a", 5)).state == "open"
    assert (await fail(ledger, "a", 5)).wait_ms <= 5_000, "nor does it open for longer"


async def test_an_answer_ends_the_row_of_its_process(ledger: Ledger) -> None:
    await fail(ledger, "a", 4)
    await breaker_close(ledger, SCOPE, process="a")
    assert (await fail(ledger, "b", 4)).state == "closed"
    assert (await fail(ledger, "b", 5)).state == "open"


async def test_failures_of_long_ago_do_not_count(ledger: Ledger) -> None:
    await fail(ledger, "a", 4)
    assert (await fail(ledger, "b", 4, window_ms=-1)).state == "closed"
    assert (await fail(ledger, "c", 1)).state == "closed"


async def test_calls_that_were_under_way_do_not_make_it_longer(ledger: Ledger) -> None:
    first = await fail(ledger, "a", 5)
    for process in "bcdef":
        assert (await fail(ledger, process, 9)).wait_ms <= first.wait_ms


async def test_the_failure_of_a_probe_opens_it_for_twice_as_long_and_once(ledger: Ledger) -> None:
    await fail(ledger, "a", 5, interval_ms=0)
    assert (await breaker_probe(ledger, SCOPE, token="t")).state == "probe"
    await ledger.client.hset(ledger.keys.breaker(SCOPE), "interval", 5_000)
    assert await fail(ledger, "a", 1, probe="t") == BreakerState("open", 10_000)
    assert (await fail(ledger, "a", 1, probe="t")).wait_ms <= 10_000
    assert (await fail(ledger, "a", 1, probe="another")).wait_ms <= 10_000
    await ledger.client.hset(ledger.keys.breaker(SCOPE), mapping={"interval": 50_000, "probe": "u"})
    assert (await fail(ledger, "a", 1, probe="u")).wait_ms == 60_000, "a minute at most"


async def test_opening_and_closing_are_told_to_all_workers(ledger: Ledger) -> None:
    async with ledger.client.pubsub() as heard:
        await heard.subscribe(ledger.keys.breakers_channel)
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await fail(ledger, "a", 5)
        assert parse_breaker((await heard.get_message(timeout=5))["data"]) == (SCOPE, 5_000)
        await breaker_close(ledger, SCOPE, process="a", probe="t")
        assert parse_breaker((await heard.get_message(timeout=5))["data"]) == (SCOPE, None)


@pytest.mark.parametrize(
    "payload", [b"", b"open", b"open x", b"open x -1", b"open x 99999999999", b"closed", b"\xff \xff", b"hold a 1 b c"]
)
def test_other_messages_are_none_of_a_breaker(payload: bytes) -> None:
    assert parse_breaker(payload) is None


async def test_a_damaged_breaker_is_as_good_as_closed(ledger: Ledger) -> None:
    await ledger.client.hset(ledger.keys.breaker(SCOPE), mapping={"till": "soon", "f:a": "many", "f:b": "9 9 9"})
    assert (await fail(ledger, "c", 1)).state == "closed"
    await ledger.client.hset(ledger.keys.breakers, SCOPE, NAME)
    assert await open_breakers(ledger) == []
    await ledger.client.delete(ledger.keys.breaker(SCOPE))
