"""Permits by shared limits: over any interleaving of processes never more than the rate allows and its burst."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.limit_hold import limit_hold
from headrace.ledger.limit_take import BURST_S, Granted, Settled, limit_take
from headrace.ledger.script import Ledger

SCOPE, MODEL = "rehearsal.0", "rehearsal.1"
LONG = 10**9


async def configured(ledger: Ledger, *, scope: str = SCOPE, process: str = "p", **limits: int) -> None:
    await limit_configure(ledger, process, [LimitScope(scope, "rehearsal", **limits)], life_ms=LONG)


async def take(ledger: Ledger, *tokens: int, process: str = "p", **words: Any) -> Granted:
    words = {"call_class": "interactive", "token": secrets.token_hex(4), "model": SCOPE} | words
    return await limit_take(ledger, SCOPE, words.pop("model"), tokens, process=process, **words)


def check_rate(grants: list[tuple[int, int]], per_minute: int, burst_s: float, largest: int) -> None:
    """Of `(time in us, amount)`: in no time more than the rate allows and the burst, or one that is larger than that."""
    unit_us = 60e6 / per_minute
    level = 0.0  # microseconds of the rate that are owed
    last = 0
    for at, amount in sorted(grants):
        level = max(0.0, level - (at - last)) + amount * unit_us
        last = at
        assert level <= max(burst_s * 1e6, largest * unit_us) + len(grants) + unit_us, (at, level)


async def test_a_block_is_granted_up_to_the_burst_and_says_when_to_ask_again(ledger: Ledger) -> None:
    await configured(ledger, requests=600)
    first = await take(ledger, *[0] * 20)
    assert first.count == int(10 * BURST_S)
    assert first.reason == "requests"
    assert first.limit == 600
    assert 0 < first.wait_us <= 100_000
    assert first.pace_us == 100_000


@pytest.mark.parametrize("seed", range(3))
async def test_never_more_than_the_rate_whatever_several_processes_do(ledger: Ledger, seed: int) -> None:
    """Estimates that are wrong both ways, permits that are given back late, both classes, two scopes."""
    chance = random.Random(seed)
    await configured(ledger, requests=60_000, tokens=6_000_000)
    await configured(ledger, scope=MODEL, requests=30_000)
    used: list[tuple[int, int, str]] = []

    async def one(process: str) -> None:
        settled: list[Settled] = []
        model = chance.choice([SCOPE, MODEL])
        call_class: Any = chance.choice(["interactive", "bulk"])
        for _ in range(60):
            estimates = [chance.randrange(1, 300) for _ in range(chance.randrange(1, 12))]
            granted = await take(
                ledger, *estimates, process=process, settled=settled, model=model, call_class=call_class
            )
            settled = []
            for estimate in estimates[: granted.count]:
                if chance.random() < 0.1:  # it was not made
                    settled.append(Settled(granted.at_us, -1, -estimate))
                    continue
                # Of more than was estimated the rest is owed later: here it is not counted.
                actual = chance.randrange(0, estimate + 1) if chance.random() < 0.5 else estimate
                settled.append(Settled(granted.at_us, 0, actual - estimate))
                used.append((granted.at_us, actual, model))
            await asyncio.sleep(chance.random() * 0.02)

    await asyncio.gather(*(one(f"p{number}") for number in range(4)))
    assert len(used) > 100
    check_rate([(at, 1) for at, _, _ in used], 60_000, BURST_S, 1)
    check_rate([(at, tokens) for at, tokens, _ in used], 6_000_000, 1.5 * BURST_S, 300)
    check_rate([(at, 1) for at, _, model in used if model == MODEL], 30_000, BURST_S, 1)


@examples(max_examples=30)
@given(
    rate=st.integers(1, 10**6),
    blocks=st.lists(st.lists(st.integers(0, 10**5), max_size=8), min_size=1, max_size=12),
    classes=st.randoms(use_true_random=False),
)
def test_a_block_is_a_prefix_and_what_is_granted_keeps_to_the_rate(
    rate: int, blocks: list[list[int]], classes: random.Random
) -> None:
    async def run() -> None:
        import fakeredis

        ledger = Ledger(fakeredis.FakeAsyncRedis(), "hr")
        await configured(ledger, tokens=rate)
        grants = []
        for block in blocks:
            granted = await take(ledger, *block, call_class=classes.choice(["interactive", "bulk"]))
            assert 0 <= granted.count <= len(block)
            assert (granted.wait_us > 0) == (granted.count < len(block))
            grants += [(granted.at_us, tokens) for tokens in block[: granted.count]]
        check_rate(grants, rate, 1.5 * BURST_S, 10**5)
        await ledger.close()

    asyncio.run(run())


async def test_sent_twice_it_grants_once(ledger: Ledger) -> None:
    await configured(ledger, requests=600)
    first = await take(ledger, 0, 0, token="a")
    assert await take(ledger, 0, 0, token="a") == first
    again = await take(ledger, 0, 0, token="b")
    assert (first.count, again.count) == (2, 2)
    assert (await take(ledger, 0, 0, token="c")).count == 0


async def test_bulk_leaves_room_and_waits_for_interactive_calls(ledger: Ledger) -> None:
    await configured(ledger, requests=600)
    bulk = await take(ledger, *[0] * 20, call_class="bulk")
    assert bulk.count == 2
    assert (await take(ledger, 0, 0)).count == 2  # at once: its part of the burst
    waits = await take(ledger, 0)
    assert waits.count == 0
    refused = await take(ledger, 0, call_class="bulk", process="b")
    assert (refused.count, refused.reason) == (0, "urgent")
    assert refused.wait_us > waits.wait_us


async def test_calls_in_flight_are_counted_over_processes_and_a_dead_ones_return(ledger: Ledger) -> None:
    await configured(ledger, in_flight=16)
    assert (await take(ledger, *[0] * 20, call_class="bulk", process="a")).count == 14
    one = await take(ledger, *[0] * 20, process="b")
    assert (one.count, one.reason, one.limit) == (2, "in_flight", 16)
    assert (await take(ledger, process="a", held=4)).count == 0
    assert (await take(ledger, *[0] * 20, process="b", held=2)).count == 10
    key = ledger.keys.limit(SCOPE)
    stored = (await ledger.client.hget(key, "p:b")).split(b" ")
    await ledger.client.hset(key, "p:b", b" ".join([b"1", *stored[1:]]))  # its lease has run out
    assert (await take(ledger, *[0] * 20, process="c")).count == 12


async def test_a_hold_stops_all_and_the_longest_counts(ledger: Ledger) -> None:
    await configured(ledger, requests=600)
    await limit_hold(ledger, SCOPE, "rehearsal", wait_ms=60_000, reason="says wait 60 s", process="p")
    await limit_hold(ledger, SCOPE, "rehearsal", wait_ms=1_000, reason="says wait 1 s", process="q")
    granted = await take(ledger, 0)
    assert (granted.count, granted.reason) == (0, "held")
    assert 59e6 < granted.wait_us <= 60e6


async def test_one_that_is_larger_than_the_burst_waits_until_nothing_is_owed(ledger: Ledger) -> None:
    await configured(ledger, tokens=60_000)
    assert (await take(ledger, 5_000)).count == 1
    second = await take(ledger, 5_000)
    assert second.count == 0
    assert 4.9e6 < second.wait_us <= 5e6


async def test_without_limits_all_is_granted_and_nothing_is_kept(ledger: Ledger) -> None:
    granted = await take(ledger, *[100] * 50)
    assert (granted.count, granted.reason) == (50, "none")
    assert not await ledger.client.exists(ledger.keys.limit(SCOPE))


async def test_damaged_fields_count_as_nothing(ledger: Ledger) -> None:
    await configured(ledger, requests=600)
    key = ledger.keys.limit(SCOPE)
    rubbish = ("due_requests", "idle_requests", "hold", "learnt_requests", "learnt_until", "urgent", "p:x", "minute")
    await ledger.client.hset(key, mapping=dict.fromkeys(rubbish, "x y"))
    assert (await take(ledger, 0)).count == 1


async def test_what_has_flowed_off_is_not_given_back(ledger: Ledger) -> None:
    """Its tokens are forgotten: given back, they would be granted a second time, on top of the burst."""
    await configured(ledger, tokens=6_000_000)
    first = await take(ledger, 1_000)
    second = first
    while second.at_us <= first.at_us + 10_000:  # until then it is owed
        second = await take(ledger)
    second = await take(ledger, 1_000)
    owed = await ledger.client.hget(ledger.keys.limit(SCOPE), "due_tokens")
    await take(ledger, settled=[Settled(first.at_us, 0, -900)])
    assert await ledger.client.hget(ledger.keys.limit(SCOPE), "due_tokens") == owed
    await take(ledger, settled=[Settled(second.at_us, 0, -900)])
    assert int(await ledger.client.hget(ledger.keys.limit(SCOPE), "due_tokens")) == int(owed) - 9_000
