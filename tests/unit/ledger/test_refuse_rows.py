"""Refuse rows: what the caller's type does not take has failed, once, whoever says so and whenever."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.batches.type_refusals import UNKNOWN_REASON, type_refusals, type_refusals_among
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.close import close
from headrace.ledger.pause import pause
from headrace.ledger.refuse_rows import MAX_REASON_CHARS, refuse_rows
from headrace.ledger.script import Ledger

COUNTERS = ("succeeded", "failed", "code:invalid_output", "refused")


async def counters(look: Any, batch: str) -> list[int]:
    record = await look.record(batch)
    return [int(record.get(name, 0)) for name in COUNTERS]


@pytest.fixture
async def rows(ledger: Ledger, shard: Any) -> None:
    """Both items of the first shard have succeeded."""
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"a"), CheckpointRow(1, "s", b"b")])


async def test_a_refused_row_has_failed(ledger: Ledger, look: Any, batch: str, rows: None) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), "reported", 0)
    assert await refuse_rows(ledger, batch, [(1, "too small")]) == 1
    assert await counters(look, batch) == [1, 1, 1, 1]
    assert b'"succeeded":1,"failed":1' in (await look.log(batch))[-1][1]
    known = await type_refusals(ledger, batch)
    assert [line in known for line in range(-1, 5)] == [False, False, True, False, False, False]
    assert known.reason(1) == "too small"


async def test_the_same_refusal_counts_once(ledger: Ledger, look: Any, batch: str, rows: None) -> None:
    await refuse_rows(ledger, batch, [(0, "no"), (0, "no")])
    before = await look.everything()
    assert await refuse_rows(ledger, batch, [(0, "no, really")]) == 0
    assert await look.everything() == before
    assert await refuse_rows(ledger, batch, [(0, "no"), (1, "no")]) == 1
    assert await counters(look, batch) == [0, 2, 2, 2]


async def test_a_line_that_is_not_there_is_no_line(ledger: Ledger, look: Any, batch: str, rows: None) -> None:
    before = await look.everything()
    for wrong in ([(4, "no")], [(0, "no"), (-1, "no")], [(0, "a"), (1, "b"), (2, "c")]):
        with pytest.raises(errors.Gap):
            await refuse_rows(ledger, batch, wrong)
    with pytest.raises(errors.Unknown):
        await refuse_rows(ledger, new_id("batch"), [(0, "no")])
    assert await look.everything() == before


@pytest.mark.parametrize("move", [pause, cancel])
async def test_a_batch_that_stands_still_takes_it(ledger: Ledger, look: Any, batch: str, rows: None, move: Any) -> None:
    await move(ledger, batch, reason="x")
    state = await look.state(batch)
    assert await refuse_rows(ledger, batch, [(0, "no")]) == 1
    assert (await look.state(batch), await counters(look, batch)) == (state, [1, 1, 1, 1])


async def test_before_the_close_and_after_it(ledger: Ledger, look: Any, batch: str, join: Any) -> None:
    """The rows 0 and 2 have succeeded, 1 and 3 failed. The log of what has ended is whole."""
    assert await refuse_rows(ledger, batch, [(0, "early")]) == 1
    await close(ledger, batch, join.epoch, output="o", errors="e", unfinished=0, left=[])
    log = await look.log(batch)
    assert await refuse_rows(ledger, batch, [(2, "late"), (0, "late")]) == 1
    assert (await look.log(batch), await look.state(batch)) == (log, "completed")
    assert await counters(look, batch) == [0, 4, 2, 2]
    known = await type_refusals(ledger, batch)
    assert [known.reason(line) for line in (0, 2)] == ["early", "late"]
    for name in ("refused", "reasons"):
        assert await ledger.client.pttl(f"{ledger.keys.batch(batch)}:{name}") > 0


async def test_stored_reasons_are_bounded(
    ledger: Ledger, look: Any, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.ledger.refuse_rows.MAX_REASONS", 3)
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"total": 100_000, "succeeded": 100_000})
    every = range(7, 100_000, 9)
    assert await refuse_rows(ledger, batch, [(line, "x" * 10_000) for line in every]) == len(every)
    assert await ledger.client.hlen(f"{ledger.keys.batch(batch)}:reasons") == 3
    assert await ledger.client.strlen(f"{ledger.keys.batch(batch)}:refused") <= 100_000 // 8
    known = await type_refusals(ledger, batch)
    assert [line for line in range(100_000) if line in known] == list(every)
    assert (len(known.reason(7)), known.reason(99_988)) == (MAX_REASON_CHARS, UNKNOWN_REASON)


@pytest.mark.parametrize("first", [0, 1, 7, 8, 250])
async def test_a_page_knows_its_own(ledger: Ledger, batch: str, first: int) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"total": 1000, "succeeded": 1000})
    wrong = [0, 1, 6, 7, 8, 250, 263, 505, 506]
    await refuse_rows(ledger, batch, [(line, f"why {line}") for line in wrong])
    known = await type_refusals_among(ledger, batch, first, 256)
    inside = [line for line in wrong if first <= line < first + 256]
    assert [line for line in range(first, first + 256) if line in known] == inside
    assert [known.reason(line) for line in inside] == [f"why {line}" for line in inside]
    assert not await type_refusals_among(ledger, batch, 600, 256)
