"""Files that have answers to the questions of a family: the newest first, for as long as answers may be used."""

from __future__ import annotations

import time

from headrace.ledger.answer_cache import drop_answers
from headrace.ledger.answer_files import MAX_FILES, add_answer_file, answer_files
from headrace.ledger.script import Ledger

TTL = 60_000


async def add(ledger: Ledger, name: str, age_ms: int, family: str = "f") -> None:
    now = int(time.time() * 1000)
    await add_answer_file(ledger, "default", family, name, paid_from_ms=now - age_ms, ttl_ms=TTL)


async def names(ledger: Ledger, family: str = "f", ttl_ms: int = TTL) -> list[str]:
    return await answer_files(ledger, "default", family, ttl_ms=ttl_ms)


async def test_the_newest_come_first_and_old_ones_do_not(ledger: Ledger) -> None:
    for name, age_ms in (("a/1", 30_000), ("b/2", 10_000), ("c/3", TTL + 1000), ("a/1", 30_000)):
        await add(ledger, name, age_ms)
    await add(ledger, "d/4", 0, family="another")
    assert await names(ledger) == ["b/2", "a/1"]
    assert await names(ledger, ttl_ms=20_000) == ["b/2"]
    assert await names(ledger, "another") == ["d/4"]


async def test_there_are_so_many_at_most(ledger: Ledger) -> None:
    for number in range(MAX_FILES + 5):
        await add(ledger, f"b/{number}", 10_000 - number)
    found = await names(ledger)
    assert len(found) == MAX_FILES
    assert found[0] == f"b/{MAX_FILES + 4}"


async def test_emptying_the_cache_forgets_them(ledger: Ledger) -> None:
    await add(ledger, "a/1", 0)
    await drop_answers(ledger)
    assert await names(ledger) == []
