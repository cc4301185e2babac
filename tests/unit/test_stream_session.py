"""How a connection ends by its token, without a gateway around it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from headrace_api.streaming.session import StreamSession
from headrace_api.views import Cursor, Subject
from headrace_api.views.native import Native
from headrace_api.views.openai import OpenAI

from headrace.events.ids import Event, EventId


class Silent:
    """A viewer to whom nothing comes."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def at_hand(self) -> list[Any]:
        self._news.clear()
        return []

    async def news(self) -> None:
        await self._news.wait()

    def wake(self) -> None:
        self._news.set()

    def close(self) -> None:
        pass


async def test_a_token_that_expires_while_the_warning_is_sent_ends_the_stream_all_the_same() -> None:
    gateway: Any = SimpleNamespace(draining=asyncio.Event(), settings=SimpleNamespace(heartbeat_s=60))
    following = StreamSession(gateway, Native, Subject(job="job_x"), Cursor(), lasts_s=3600)
    viewer: Any = Silent()
    following._viewer = viewer
    groups = following.groups(asyncio.get_running_loop().create_future())
    following._on_word("expiring")
    async with asyncio.timeout(5):
        (warning,) = await anext(groups)
        assert json.loads(warning.data)["t"] == "auth.expiring"
        following._on_word("expired")  # a slow reader has not taken the warning yet
        (last,) = await anext(groups)
        assert json.loads(last.data)["t"] == "bye"
        assert await anext(groups, None) is None
    assert following.last == "expired"
    following.close()


class Restless(Silent):
    """A viewer to whom a status comes again and again, and nothing that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self._seq = 0

    def at_hand(self) -> list[Any]:
        super().at_hand()
        self._seq += 1
        if self._seq % 2:
            return []
        asyncio.get_running_loop().call_later(0.02, self.wake)
        return [Event(EventId(1, self._seq), b'{"t":"status","phase":"retrying","detail":"once more"}')]

    async def news(self) -> None:
        if self._seq == 1:
            self.wake()
        await super().news()


async def test_a_head_that_is_held_is_sent_after_a_heartbeat_also_when_the_job_is_busy() -> None:
    gateway: Any = SimpleNamespace(draining=asyncio.Event(), settings=SimpleNamespace(heartbeat_s=0.2))
    following = StreamSession(gateway, OpenAI, Subject(job="job_x"), Cursor(), patience_s=60)
    viewer: Any = Restless()
    following._viewer = viewer
    groups = following.groups(asyncio.get_running_loop().create_future())
    async with asyncio.timeout(5):
        assert await anext(groups) == [], "nothing to show: a heartbeat"
    assert following.unsent
    await groups.aclose()
    following.close()
