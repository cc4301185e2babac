"""Reject: what cannot be worked with is kept for a while, bounded, and counted."""

from __future__ import annotations

import pytest

from headrace.ledger.dead_letter import MAX_BYTES, DeadLetter, counts_in_words, dead_letter, dead_letters, parse
from headrace.ledger.script import Ledger


async def test_lists_dead_letters_newest_first(ledger: Ledger) -> None:
    await dead_letter(ledger, "message", b'\xff\n{"body": null}', where="interactive", why="no JSON")
    await dead_letter(ledger, "record", b"job_x", where="due", why="no kind")
    record, message = await dead_letters(ledger)
    assert (record.kind, record.where, record.why[:7], record.data) == ("record", "due", "no kind", b"job_x")
    assert (message.kind, message.where, message.data) == ("message", "interactive", b'\xff\n{"body": null}')
    assert message.at_ms > 1_700_000_000_000
    assert await ledger.client.hgetall(ledger.keys.rejections) == {b"message": b"1", b"record": b"1"}


async def test_reject_is_bounded_in_bytes_number_and_time(ledger: Ledger) -> None:
    await dead_letter(ledger, "message", b"x" * (MAX_BYTES + 1), where="bulk", why="deep")
    assert len((await dead_letters(ledger))[0].data) == MAX_BYTES
    await ledger.client.rpush(ledger.keys.rejected, *(b"1 message bulk old\n",) * 1200)
    await dead_letter(ledger, "message", b"new", where="bulk", why="deep")
    assert await ledger.client.llen(ledger.keys.rejected) == 1000
    assert (await dead_letters(ledger, 1))[0].data == b"new"
    assert 0 < await ledger.client.pttl(ledger.keys.rejected) <= 7 * 86400_000


async def test_sent_twice_it_counts_once(ledger: Ledger) -> None:
    keys = {"rejected": ledger.keys.rejected, "rejections": ledger.keys.rejections}
    arguments = {"kind": "message", "where": "bulk", "why": "deep", "data": b"x", "token": "t1"}
    for _ in range(2):
        await ledger.run("dead_letter", "bulk", keys, arguments)  # type: ignore[arg-type]
    assert await ledger.client.hget(ledger.keys.rejections, "message") == b"1"
    assert len(await dead_letters(ledger)) == 1


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, ""),
        ({b"message": b"1"}, "1 message"),
        ({b"record": b"2", b"message": b"12", b"other": b"1"}, "12 messages, 2 records"),
        ({b"message": b"x"}, ""),
    ],
)
def test_the_counts_in_words(counts: dict[bytes, bytes], text: str) -> None:
    assert counts_in_words(counts) == text


def test_an_entry_that_somebody_else_wrote_is_shown_as_far_as_it_goes() -> None:
    assert parse(b"\xff") == DeadLetter(0, "", "", "", b"")
    assert parse(b"5 a\nb") == DeadLetter(5, "a", "", "", b"b")
