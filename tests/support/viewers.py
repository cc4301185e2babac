"""Viewers of jobs over real connections to gateways: server-sent events or a WebSocket, cut and resumed in any place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import Random

import aiohttp
from transcript import Transcript

from headrace.events.ids import START, Event, EventId

LOST = (aiohttp.ClientError, OSError, TimeoutError)
"""What reading raises when the gateway, or the way to it, is gone."""
COME_BACK = {1001, 1006, 1012, 1013, 4408}
LATER = {429, 503}
SILENCE_S = 20.0


class Refused(AssertionError):
    """A gateway gave an answer that no viewer of these tests should get."""


async def server_sent(
    session: aiohttp.ClientSession, base: str, job: str, after: EventId
) -> AsyncGenerator[Event | None]:
    """The events after the cursor; the first thing is None, as soon as the gateway has answered."""
    headers = {"Last-Event-ID": str(after)} if after != START else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_S)
    async with session.get(f"{base}/v1/jobs/{job}/events", headers=headers, timeout=timeout) as answer:
        if answer.status in LATER:
            raise aiohttp.ClientConnectionError(f"status {answer.status}")
        if answer.status != 200:
            raise Refused(f"{answer.status} after {after}: {await answer.text()}")
        yield None
        id = None
        async for raw in answer.content:
            line = raw.rstrip(b"\n")
            if line.startswith(b"id: "):
                id = EventId.parse(line[4:].decode())
            elif line.startswith(b"data: ") and id is not None:
                yield Event(id, line[6:])
            elif not line:
                id = None


async def web_socket(
    session: aiohttp.ClientSession, base: str, job: str, after: EventId
) -> AsyncGenerator[Event | None]:
    """The same over a WebSocket that watches this job alone."""
    async with session.ws_connect(
        f"{base}/v1/stream?job={job}&after={after}", timeout=aiohttp.ClientWSTimeout(ws_close=2.0)
    ) as connection:
        yield None
        while (message := await connection.receive(SILENCE_S)).type is aiohttp.WSMsgType.TEXT:
            frame = json.loads(message.data)
            if "id" in frame:
                id = EventId.parse(frame["id"])
                fields = {name: value for name, value in frame.items() if name not in ("v", "job", "id")}
                yield Event(id, json.dumps(fields, separators=(",", ":")).encode())
        code = connection.close_code
    if code is not None and code != 1000 and code not in COME_BACK:
        raise Refused(f"closed with {code} after {after}")


TRANSPORTS = (server_sent, web_socket)


class Viewer:
    """Watches one job to its end. `base` says, each time it comes (back), which gateway it goes to.

    A `loyal` one stays until it is cut off; another leaves now and then and comes back; a `slow` one takes its time.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        job: str,
        base: Callable[[], str],
        chance: Random,
        *,
        loyal: bool = True,
        slow: bool = False,
    ):
        self.job = job
        self.loyal = loyal
        self.slow = slow
        self.seen = Transcript()
        self.connections = 0
        self._session = session
        self._base = base
        self._chance = chance

    @property
    def ended(self) -> bool:
        return bool(self.seen.events) and self.seen.events[-1].data.startswith(b'{"t":"end"')

    async def watch(self) -> None:
        """Until it has seen the end. Raises `Refused` for an answer that is none of a viewer's."""
        while not self.ended:
            try:
                await self._one_connection()
            except LOST:
                await asyncio.sleep(self._chance.uniform(0.02, 0.2))

    async def _one_connection(self) -> None:
        stay = self._chance.randrange(1, 80) if not self.loyal else 1 << 30
        cursor = self.seen.ids[-1] if self.seen.events else START
        transport = self._chance.choice(TRANSPORTS)
        async with aclosing(transport(self._session, self._base(), self.job, cursor)) as events:
            since_s = time.monotonic()
            async for event in events:
                if event is None:
                    self.connections += 1
                    since_s = time.monotonic()
                    continue
                self.seen.add(event, time.monotonic(), since_s)
                stay -= 1
                if not stay or self.ended:
                    return
                if self.slow and self._chance.random() < 0.1:
                    await asyncio.sleep(0.05)
