"""An event log, viewed through a gateway: server-sent events, read on from the last id when the connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from typing import Literal, Self

import aiohttp
import msgspec

from headrace.client.http_connection import MAX_RETRY_S, PATIENCE_S, RETRY_S, HttpConnection
from headrace.errors import Gone
from headrace.events.ids import Event, EventId
from headrace.events.log_buffer import END

NO_CONTENT = 204


class HttpLog:
    """A cursor over the log that `path` serves; see `backend.LogView`. `open` it first."""

    def __init__(self, connection: HttpConnection, path: str, subject: str, after: EventId | Literal["now"]):
        self.cursor = EventId(0, 0) if after == "now" else after
        self.ended = False
        self._after = str(after)
        self._connection = connection
        self._path = path
        self._subject = subject
        self._groups: AsyncGenerator[list[Event]] | None = None
        self._response = AsyncExitStack()
        self._group: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the response to be closed: at once where it can be, else with the connections."""
        response, self._response = self._response, AsyncExitStack()
        with suppress(RuntimeError):  # no loop runs any more: what was left is collected
            self._closing = asyncio.get_running_loop().create_task(response.aclose())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._group:
            self._group = (await self.next())[::-1]
        return self._group.pop()

    async def open(self) -> Self:
        """Connect. Raises `Unknown`, `Gone` and `Unreachable`."""
        deadline, wait_s = asyncio.get_running_loop().time() + PATIENCE_S, RETRY_S
        while True:
            try:
                await self._connect()
                return self
            except OSError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise self._connection.unreachable(error) from error
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)

    async def next(self) -> list[Event]:
        """Return the next events, at least one. `StopAsyncIteration` after the group that holds `end`."""
        if self._group:
            group, self._group = self._group[::-1], []
            return group
        while not self.ended:
            if self._groups is None:
                await self.open()
                continue
            try:
                group = await anext(self._groups, None)
            except (OSError, aiohttp.ClientError):
                group = None
            if group:
                self.cursor = group[-1].id
                self._after = str(self.cursor)
                self.ended = group[-1].data.startswith(END)
                return group
            await self._disconnect()
            await asyncio.sleep(RETRY_S)
        raise StopAsyncIteration

    async def _connect(self) -> None:
        answer = await self._response.enter_async_context(
            self._connection.request("GET", self._path, query={"after": self._after}, subject=self._subject)
        )
        self.ended = answer.status == NO_CONTENT
        self._groups = None if self.ended else self._read(answer)

    async def _disconnect(self) -> None:
        self._groups = None
        await self._response.aclose()

    async def _read(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[list[Event]]:
        """Yield the events of one response in groups, as they come."""
        rest = b""
        async for piece, _ in answer.content.iter_chunks():
            *blocks, rest = (rest + piece).split(b"\n\n")
            if group := [event for block in blocks if (event := self._event(block)) is not None]:
                yield group

    def _event(self, block: bytes) -> Event | None:
        """Return the event of a block; None for a comment, and for a notice of the gateway's own. Raises `Gone`."""
        id, data = b"", b""
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            if name == b"id":
                id = value
            elif name == b"data":
                data = value
        if id:
            return Event(EventId.parse(id.decode()), data)
        notice = msgspec.json.decode(data) if data else {}
        if notice.get("t") == "pos":
            self._after = notice["at"]
        elif notice.get("t") == "gap":
            first = notice.get("first")
            raise Gone(self._subject, EventId.parse(first) if first else None)
        return None
