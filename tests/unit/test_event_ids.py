"""Ids of events and cursors: any text is a row of the table, or an `InputError`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Damaged, InputError
from headrace.events.ids import START, Event, EventId, parse_cursor
from headrace.events.types import AttemptStart, OtherEvent

numbers = st.integers(0, 10**15 - 1)
ids = st.builds(EventId, numbers, numbers)


@given(ids)
def test_an_id_is_read_back_from_its_text(given_id: EventId) -> None:
    assert EventId.parse(str(given_id)) == given_id
    assert parse_cursor(str(given_id)) == given_id


@given(st.one_of(st.none(), st.text(), st.from_regex(r"[0-9]{0,20}-?[0-9]{0,20}")))
def test_any_cursor_is_a_row_of_the_table_or_bad_input(text: str | None) -> None:
    try:
        cursor = parse_cursor(text)
    except InputError:
        return
    if isinstance(cursor, EventId) and cursor != START:
        epoch, seq = (text or "").split("-")
        assert (int(epoch), int(seq)) == cursor
    else:
        assert text in (None, "", "0", "-1", "now", "$") or set(text or "") == {"0", "-"}


@pytest.mark.parametrize("text", [None, "", "0", "-1"])
def test_the_start(text: str | None) -> None:
    assert parse_cursor(text) == START


@pytest.mark.parametrize("text", ["now", "$"])
def test_now(text: str) -> None:
    assert parse_cursor(text) == "now"


@pytest.mark.parametrize("text", ["1-2\n", " 1-2", "1-2-3", "1", "+1-2", "1-", "-", "\x00", "١-٢", "1" * 16 + "-1"])
def test_refuses_malformed_ids(text: str) -> None:
    with pytest.raises(InputError, match="is no id of an event"):
        parse_cursor(text)


@given(ids, ids)
def test_only_the_next_id_of_an_epoch_follows(one: EventId, other: EventId) -> None:
    if other.follows(one):
        assert other > one
        assert other.seq == (one.seq + 1 if other.epoch == one.epoch else 1)
    assert EventId(one.epoch, one.seq + 1).follows(one)
    assert EventId(one.epoch + 1, 1).follows(one)
    assert not one.follows(one)
    assert not EventId(one.epoch + 1, 2).follows(one)


def test_an_event_is_read_as_its_type() -> None:
    assert Event(EventId(17, 1), b'{"t":"attempt.start","n":1}').decode("job_a") == AttemptStart(n=1)


def test_an_event_of_a_newer_release_is_one_of_another_type() -> None:
    newer = Event(EventId(17, 1), b'{"t":"of.the.future","c":"x","total":[]}')
    assert newer.decode("job_a") == newer.decode_batch("batch_a") == OtherEvent("of.the.future")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `t`"),
        (b'{"t":"text.delta"}', "missing required field `d`"),
        (b'{"t":"text.delta","d":7}', "Expected `str`, got `int`"),
        (b'{"t":"text.delta","d":"x","c":"0"}', r"at `\$.c`"),
        (b'{"t":"end"}', "missing required field `status`"),
        (b'{"t":"attempt.route","provider":"p","model":"m"}', "missing required field `deployment`"),
    ],
)
def test_malformed_events_are_damaged_with_their_place(data: bytes, why: str) -> None:
    with pytest.raises(Damaged, match=f"event 17-1 cannot be read: .*{why}") as refused:
        Event(EventId(17, 1), data).decode("job_a")
    assert "job_a" in str(refused.value)
