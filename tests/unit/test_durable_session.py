"""A log as a Durable Stream: offsets, cursors, and how its live form ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from headrace_api.streaming import durable
from headrace_api.streaming.durable import (
    DurableSession,
    EventEncoder,
    check_retained,
    next_cursor,
    offset_of,
    parse_offset,
)
from headrace_api.streaming.sse import PIECE_BYTES
from headrace_api.views import Frame
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Gone, InputError
from headrace.events.ids import START, Event, EventId

IDS = st.builds(EventId, st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))


@given(IDS, IDS)
def test_offsets_sort_as_positions_do_and_come_back(one: EventId, other: EventId) -> None:
    assert (offset_of(one) < offset_of(other)) == (one < other)
    assert parse_offset(offset_of(one)) == one


@pytest.mark.parametrize("text", ["", "1-2", "now ", "-2", "$", "0", offset_of(START) + "0", "²" * 15 + "-" + "1" * 15])
def test_anything_else_is_no_offset(text: str) -> None:
    with pytest.raises(InputError, match=r"^offset="):
        parse_offset(text)


def test_a_cursor_never_goes_back_or_stands() -> None:
    now = next_cursor(None)
    assert int(next_cursor("1")) >= int(now)
    for _ in range(100):
        assert int(next_cursor(now)) > int(now)
        assert int(next_cursor(str(int(now) + 500))) > int(now) + 500
    with pytest.raises(InputError, match=r"^cursor="):
        next_cursor("-1")


def event(seq: int, kind: str = "text.delta", epoch: int = 17) -> Event:
    return Event(EventId(epoch, seq), b'{"t":"%b","d":"\xe2\x80\xa8"}' % kind.encode())


@pytest.mark.parametrize(
    ("first", "after", "record"),
    [
        (event(1), START, "{hr}:job:job_a"),
        (event(5), EventId(17, 4), "{hr}:job:job_a"),
        (event(1, epoch=18), EventId(17, 4), "{hr}:job:job_a"),
        (event(9, "snapshot"), START, "{hr}:job:job_a"),
        (event(90), EventId(17, 4), "{hr}:batch:batch_a"),
    ],
)
def test_what_follows_an_offset_is_there(first: Event, after: EventId, record: str) -> None:
    check_retained([first], after, record)


@pytest.mark.parametrize(
    ("first", "after"),
    [
        (event(6), EventId(17, 4)),
        (event(9, "snapshot"), EventId(17, 4)),
        (event(3), START),
        (event(2, epoch=18), START),
    ],
)
def test_what_is_not_is_gone(first: Event, after: EventId) -> None:
    with pytest.raises(Gone):
        check_retained([first], after, "{hr}:job:job_a")


class Viewer:
    """A viewer of groups of events; `ended` is said with the last one, as by the reader's own."""

    def __init__(self, *groups: list[Event], ends: bool):
        self._groups = list(groups)
        self._ends = ends
        self._news = asyncio.Event()
        self.ended = False

    def at_hand(self) -> list[Event] | None:
        self._news.clear()
        group = self._groups.pop(0) if self._groups else []
        self.ended = self._ends and not self._groups
        return group

    async def next(self) -> list[Event]:
        group = self.at_hand()
        assert group
        return group

    async def news(self) -> None:
        await self._news.wait()

    def wake(self) -> None:
        self._news.set()

    def close(self) -> None: ...


async def said_by(viewer: Viewer, after: EventId = START, **words: Any) -> tuple[list[tuple[str, Any]], DurableSession]:
    """The frames of a session, up to its end."""
    given: dict[str, Any] = {"is_behind": True, "drain": asyncio.Event(), "heartbeat_s": 60, "lasts_s": 60} | words
    session = DurableSession("{hr}:job:job_a", viewer, after, cursor=None, **given)  # pyright: ignore[reportArgumentType]
    frames: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        async for group in session.groups(asyncio.get_running_loop().create_future()):
            frames += [(str(frame.id), json.loads(frame.data)) for frame in group]
    return frames, session


async def test_the_last_events_are_said_before_it_is_closed() -> None:
    frames, session = await said_by(Viewer([event(1)], [event(2)], [event(3, "end")], ends=True))
    assert [[one["t"] for one in said] for kind, said in frames if kind == "data"] == [
        ["text.delta"],
        ["text.delta"],
        ["end"],
    ]
    controls = [said for kind, said in frames if kind == "control"]
    assert [control["streamNextOffset"] for control in controls] == [offset_of(EventId(17, seq)) for seq in (1, 2, 3)]
    assert [control.get("streamClosed") for control in controls] == [None, None, True]
    assert [control.get("upToDate") for control in controls] == [None, None, True]
    assert session.last == "end"


async def test_it_is_closed_after_its_lifetime_and_begins_with_its_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "LIFETIME_S", 0.1)
    frames, session = await said_by(Viewer(ends=False), EventId(17, 4), is_behind=False)
    ((kind, control),) = frames
    assert (kind, control["upToDate"], control["streamNextOffset"]) == ("control", True, offset_of(EventId(17, 4)))
    assert session.last == ""


async def test_it_ends_with_the_gateway_and_where_events_are_missing() -> None:
    drain = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, drain.set)
    frames, _ = await said_by(Viewer(ends=False), EventId(17, 4), is_behind=False, drain=drain)
    assert len(frames) == 1
    frames, session = await said_by(Viewer([event(1)], [event(9, "snapshot")], ends=False))
    assert [said[0]["t"] for kind, said in frames if kind == "data"] == ["text.delta"], "its client is told by a 410"
    assert session.last == ""


def test_frames_are_events_by_name_in_pieces_without_odd_line_ends() -> None:
    large = b'["' + b"x" * PIECE_BYTES * 2 + b'\xe2\x80\xa8"]'
    pieces = list(EventEncoder().pieces([Frame("data", large), Frame("control", b"{}")]))
    assert all(len(piece) <= PIECE_BYTES + 100 for piece in pieces)
    whole = b"".join(pieces)
    assert (
        whole
        == b"event: data\ndata: " + large.replace(b"\xe2\x80\xa8", b"\\u2028") + b"\n\nevent: control\ndata: {}\n\n"
    )
