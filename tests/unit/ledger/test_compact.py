"""Compact: a snapshot takes the place of what it covers, also of what the server has lost."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.append import append
from headrace.ledger.compact import compact
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

TEXT = b'{"t":"text.delta","d":"a"}'
SNAPSHOT = b'{"t":"snapshot","upto":4,"message":{}}'


async def test_the_snapshot_is_the_first_that_is_left(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await append(ledger, job, attempt.epoch, 2, [TEXT] * 3)
    assert await compact(ledger, job, attempt.epoch, 5, SNAPSHOT) == 5
    await append(ledger, job, attempt.epoch, 6, [TEXT])
    log = [(f"{attempt.epoch}-5", SNAPSHOT), (f"{attempt.epoch}-6", TEXT)]
    assert await look.log(job) == log


async def test_sent_twice_it_is_written_once_and_keeps_what_came_since(
    ledger: Ledger, look: Any, job: str, attempt: Any
) -> None:
    await append(ledger, job, attempt.epoch, 2, [TEXT] * 3)
    await compact(ledger, job, attempt.epoch, 5, SNAPSHOT)
    await append(ledger, job, attempt.epoch, 6, [TEXT])
    before = await look.everything()
    assert await compact(ledger, job, attempt.epoch, 5, SNAPSHOT) == 6
    assert await look.everything() == before


async def test_compact_jumps_over_what_the_server_has_lost(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    assert await compact(ledger, job, attempt.epoch, 500, SNAPSHOT) == 500
    await append(ledger, job, attempt.epoch, 501, [TEXT])
    assert [number for number, _ in await look.log(job)] == [f"{attempt.epoch}-500", f"{attempt.epoch}-501"]


async def test_a_zombie_cannot_compact(ledger: Ledger, look: Any, zombie: Any) -> None:
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await compact(ledger, zombie.record_id, zombie.epoch, 2, SNAPSHOT)
    assert await look.everything() == before


async def test_nothing_is_written_after_the_end(ledger: Ledger, look: Any, job: str, attempt: Any) -> None:
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=b"{}", result=b"{}")
    before = await look.everything()
    with pytest.raises(errors.Closed):
        await compact(ledger, job, attempt.epoch, 3, SNAPSHOT)
    assert await look.everything() == before
