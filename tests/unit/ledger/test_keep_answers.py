"""Keep answers: they have a lifetime, replace each other or not, and the oldest make room."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.ledger.answer_cache import CacheUse, cache_secret, cache_use, drop_answers
from headrace.ledger.keep_answers import Kept, keep_answers
from headrace.ledger.script import Ledger

TTL = 60_000
SIZE = 800 + 200


def answer(mark: int, size: int = 800) -> bytes:
    return b"%08d" % mark + b"x" * (size - 8)


async def keep(ledger: Ledger, *names: str, tenant: str = "default", mark: int = 1, **bounds: Any) -> int:
    group = [Kept(name, "", "set", answer(mark)) for name in names]
    return await keep_answers(ledger, group, tenant=tenant, process="p", ttl_ms=TTL, **{"max_bytes": 10**9} | bounds)


async def kept(ledger: Ledger, *names: str) -> str:
    return "".join([name for name in names if await ledger.client.exists(ledger.keys.cache(name))])


async def test_an_answer_has_its_lifetime_and_is_replaced_or_not(ledger: Ledger) -> None:
    for how, mark in (("set", 1), ("add", 2), ("set", 3)):
        group = [Kept("a", "", how, answer(mark))]  # pyright: ignore[reportArgumentType]
        await keep_answers(ledger, group, tenant="default", process="p", ttl_ms=TTL)
        assert await ledger.client.get(ledger.keys.cache("a")) == answer(1 if how == "add" else mark)
    assert 0 < await ledger.client.pttl(ledger.keys.cache("a")) <= TTL


async def test_the_oldest_make_room(ledger: Ledger) -> None:
    await keep(ledger, "a", "b", "c", max_bytes=3 * SIZE)
    assert await kept(ledger, *"abc") == "abc"
    assert (await cache_use(ledger)).bytes == 3 * SIZE
    await keep(ledger, "d", max_bytes=3 * SIZE)
    assert await kept(ledger, *"abcd") == "bcd"
    await keep(ledger, "e", max_bytes=SIZE)
    assert await kept(ledger, *"abcde") == "e"
    assert await cache_use(ledger) == CacheUse(1, SIZE, 0, {"default": SIZE}, SIZE)


async def test_what_is_sent_twice_counts_once_and_what_was_replaced_stays(ledger: Ledger) -> None:
    await keep(ledger, "a", "b")
    await keep(ledger, "a", "b")
    assert (await cache_use(ledger)).bytes == 2 * SIZE
    await keep(ledger, "a", mark=2, max_bytes=2 * SIZE)
    assert await kept(ledger, *"ab") == "ab", "the place of the old `a` went, not the new one"
    assert (await cache_use(ledger)).bytes == 2 * SIZE


async def test_a_tenant_has_its_own_bound_and_empties_nobody_elses(ledger: Ledger) -> None:
    await keep(ledger, "a", "b", "c", tenant="acme", tenant_bytes=2 * SIZE)
    await keep(ledger, "x", tenant="other")
    assert await kept(ledger, *"abcx") == "bcx"
    await keep(ledger, "y", tenant="other", max_bytes=3 * SIZE)
    assert await kept(ledger, *"abcxy") == "cxy", "room is made by who takes most"


async def test_what_has_expired_is_counted_no_longer(ledger: Ledger) -> None:
    await keep(ledger, "a")
    await ledger.client.delete(ledger.keys.cache("a"))
    (place,) = await ledger.client.lrange(ledger.keys.cached("default"), 0, -1)
    sha, size, since, mark = place.split(b" ")
    await ledger.client.lset(ledger.keys.cached("default"), 0, b" ".join((sha, size, b"%d" % (int(since) - TTL), mark)))
    await keep(ledger, "b")
    assert await cache_use(ledger) == CacheUse(1, SIZE, 0, {"default": SIZE}, 10**9)


@pytest.mark.parametrize("damage", ["bytes", "bytes:default"])
async def test_wrong_counts_end_with_an_empty_cache(damage: str, ledger: Ledger) -> None:
    await keep(ledger, "a", "b")
    await ledger.client.hset(ledger.keys.cache_use, damage, 10**12)
    await keep(ledger, "c")
    assert (await cache_use(ledger)).bytes <= 3 * SIZE
    await keep(ledger, "d")
    assert await kept(ledger, "d") == "d"


async def test_an_unbounded_cache_counts_nothing(ledger: Ledger) -> None:
    await keep(ledger, "a", max_bytes=0)
    assert await cache_use(ledger) == CacheUse(1, max_bytes=0)
    assert not await ledger.client.exists(ledger.keys.cached("default"))


async def test_all_are_dropped_together(ledger: Ledger) -> None:
    await keep(ledger, "a", "b")
    assert await drop_answers(ledger) == 2
    assert await cache_use(ledger) == CacheUse(0)
    assert not await ledger.client.exists(ledger.keys.cached("default"))


async def test_the_first_secret_is_everybodys_and_a_damaged_one_is_made_anew(ledger: Ledger) -> None:
    first = await cache_secret(ledger)
    assert (len(first), await cache_secret(ledger)) == (32, first)
    await ledger.client.set(ledger.keys.cache_secret, b"short")
    assert len(await cache_secret(ledger)) == 32
