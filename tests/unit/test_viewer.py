"""What a viewer finds in memory, without a task and without Redis: all of it in order, once, and `None` for all else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headrace.events.ids import START, EventId
from headrace.events.log_buffer import LogBuffer
from headrace.events.reader import Reader, Viewer


class Hall:
    """A reader with one room, that never reads."""

    def enter(self, room: LogBuffer, viewer: Viewer) -> None:
        room.viewers.add(viewer)

    def leave(self, room: LogBuffer, viewer: Viewer) -> None:
        room.viewers.discard(viewer)


@pytest.fixture
def room() -> LogBuffer:
    room = LogBuffer(cast(Any, None), "{hr}:job:x", most_bytes=1 << 20, on_growth=lambda room, size: None)
    room.begun = True
    return room


def viewing(room: LogBuffer, cursor: EventId = START) -> Viewer:
    return Viewer(cast(Reader, Hall()), room, cursor)


def tell(room: LogBuffer, seq: int, kind: str = "text.delta") -> None:
    room.on_message(b'7-%d {"t":"%s"}' % (seq, kind.encode()))


async def test_polls_each_event_once_in_order(room: LogBuffer) -> None:
    viewer = viewing(room)
    assert viewer.at_hand() == []
    tell(room, 1, "attempt.start")
    tell(room, 2)
    group = viewer.at_hand()
    assert group is not None
    assert [event.id for event in group] == [(7, 1), (7, 2)]
    assert viewer.cursor == (7, 2)
    assert viewer.at_hand() == []
    tell(room, 3, "end")
    assert [event.id for event in viewer.at_hand() or ()] == [(7, 3)]
    assert viewer.ended
    assert viewer.at_hand() is None, "`next` tells the end"
    with pytest.raises(StopAsyncIteration):
        await viewer.next()


async def test_news_between_a_look_and_the_wait_are_not_slept_through(room: LogBuffer) -> None:
    viewer = viewing(room)
    assert viewer.at_hand() == []
    tell(room, 1, "attempt.start")
    async with asyncio.timeout(5):
        await viewer.news()
    assert viewer.at_hand()


async def test_only_next_can_tell_of_what_is_not_in_memory(room: LogBuffer) -> None:
    tell(room, 1, "attempt.start")
    tell(room, 2)
    room.drop_ring()
    assert viewing(room, EventId(7, 1)).at_hand() is None
    assert viewing(room, EventId(7, 2)).at_hand() == []
    room.failure = OSError("away")
    assert viewing(room, EventId(7, 2)).at_hand() is None
