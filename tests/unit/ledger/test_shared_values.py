"""Values that are shared by name beside the records: paid choices, the job of a chat, the file store, the worker processes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from headrace.ledger.announce import Announcement, announce
from headrace.ledger.answer_cache import keep_choice, paid_choice
from headrace.ledger.beat import beat
from headrace.ledger.chat_job import CHAT_MS, chat_job, name_chat_job
from headrace.ledger.dead_letter import dead_letter
from headrace.ledger.inspection import Inspection, Rejections
from headrace.ledger.recover import workers_named
from headrace.ledger.script import Ledger
from headrace.ledger.server_check import server_uptime_ms
from headrace.ledger.store_name import StoreName, agreed_store


async def test_a_choice_that_was_paid_is_kept_for_its_time(ledger: Ledger) -> None:
    await keep_choice(ledger, "a", b"one", ttl_ms=60_000)
    assert (await paid_choice(ledger, "a"), await paid_choice(ledger, "c")) == (b"one", None)
    assert 0 < await ledger.client.pttl(ledger.keys.choice("a")) <= 60_000


async def test_a_chat_has_the_job_that_was_named_last(ledger: Ledger) -> None:
    assert await chat_job(ledger, "default", "c") is None
    for job in ("job_a", "job_b"):
        await name_chat_job(ledger, "default", "c", job)
    assert await chat_job(ledger, "default", "c") == "job_b"
    assert await chat_job(ledger, "other", "c") is None
    assert 0 < await ledger.client.pttl(ledger.keys.chat("default", "c")) <= CHAT_MS


async def test_the_first_store_is_everybodys(ledger: Ledger) -> None:
    first, second = StoreName("file:///a", "1"), StoreName("file:///b", "2")
    assert await agreed_store(ledger, first) == first
    assert await agreed_store(ledger, second) == first
    await ledger.client.hset(ledger.keys.store, "default", "no name")
    with pytest.raises(msgspec.MsgspecError):
        await agreed_store(ledger, second)


async def test_workers_are_found_by_what_their_names_begin_with(ledger: Ledger) -> None:
    for name in ("bulk-host-7-ab", "bulk-host-7-ab/child", "bulk-host-71-cd", "interactive-host-7-ef"):
        await beat(ledger, {}, process=name)
    assert await workers_named(ledger, "bulk-host-7-") == ["bulk-host-7-ab"]


@pytest.mark.parametrize(("info", "expected"), [({"uptime_in_seconds": 17}, 17_000), ({}, None)])
async def test_a_server_says_how_long_it_has_run_or_nothing(
    info: dict[str, int], expected: int | None, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(_: str) -> dict[str, int]:
        return info

    monkeypatch.setattr(ledger.client, "info", told)
    assert await server_uptime_ms(ledger) == expected


async def test_the_doctor_reads_the_same(valkey_url: str, namespace: str) -> None:
    import redis

    ledger = Ledger.at(valkey_url, namespace)
    with redis.Redis.from_url(valkey_url) as client:
        inspection = Inspection(client, namespace)

        def seen() -> tuple[Any, ...]:
            return inspection.store(), inspection.announcements(), inspection.rejections()

        assert await asyncio.to_thread(seen) == (None, [], Rejections("", 0))
        store, able = StoreName("file:///a", "1"), Announcement(configured=["openai"])
        await agreed_store(ledger, store)
        await announce(ledger, "w1", able)
        await dead_letter(ledger, "message", b"x", where="bulk", why="no hint")
        assert await asyncio.to_thread(seen) == (store, [able], Rejections("1 message", 1))
    await ledger.close()
