"""Reads event logs. The log is the truth, its channel only says that there is more: joining late, resuming and a lost
link are one code path, reading on from a cursor.

One raw subscriber connection per client, touched by one actor alone: redis-py's own `PubSub` says nothing of a message
lost in a reconnect, nor of a link that is half open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from headrace.errors import Unreachable
from headrace.ledger.script import AWAY, Ledger

T = TypeVar("T")

PAGE = 500
PING_S = 1.0
SILENCE_S = 3.0
LONGEST_BACKOFF_S = 1.0
RETRY_S = 0.2
NOT_NOW = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError)
PATIENCE_S = 60.0
END = b'{"t":"end"'
# Two frames fewer to tell apart than RESP3; over TCP redis-py then refuses its maintenance notifications.
RESP2 = {"protocol": 2, "maint_notifications_config": MaintNotificationsConfig(enabled=False)}


class Wake:
    """Set whenever there may be something new: after every confirmation of the subscription, and at every message."""

    def __init__(self, *, only_end: bool):
        self.event = asyncio.Event()
        self.only_end = only_end
        self.failure: BaseException | None = None  # why nobody listens for it any more

    async def wait(self) -> None:
        await self.event.wait()
        self.event.clear()
        if self.failure is not None:
            raise self.failure


class Channels:
    """Who listens to which channel, over one connection. It opens with the first listener and closes after the last."""

    def __init__(self, ledger: Ledger):
        self._pool: Any = ledger.client.connection_pool
        self._wakes: dict[bytes, set[Wake]] = {}
        self._confirmed: set[bytes] = set()  # by the server, on the present connection
        self._changed = asyncio.Event()
        self._actor: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listen(self, channel: str, *, only_end: bool = False) -> Iterator[Wake]:
        """A `Wake` for `channel` while the block lasts; with `only_end`, messages that are no `end` do not count."""
        wake, name = Wake(only_end=only_end), channel.encode()
        self._wakes.setdefault(name, set()).add(wake)
        self._changed.set()
        if self._actor is None or self._actor.done():
            self._actor = asyncio.create_task(self._run())
            self._actor.add_done_callback(self._on_end)
        elif name in self._confirmed:
            wake.event.set()
        try:
            yield wake
        finally:
            self._wakes[name].discard(wake)
            if not self._wakes[name]:
                del self._wakes[name]
                self._changed.set()

    async def close(self) -> None:
        if self._actor is not None:
            self._actor.cancel()
            await asyncio.gather(self._actor, return_exceptions=True)

    def _on_end(self, actor: asyncio.Task[None]) -> None:
        # Nobody may wait for what no longer comes.
        failure = None if actor.cancelled() else actor.exception()
        if failure is not None:
            for wakes in self._wakes.values():
                for wake in wakes:
                    wake.failure = failure
                    wake.event.set()

    async def _run(self) -> None:
        backoff_s = 0.02
        while self._wakes:
            connection = self._pool.connection_class(**{**self._pool.connection_kwargs, **RESP2})
            try:
                await connection.connect()
                backoff_s = 0.02
                await self._serve(connection)
            except NOT_NOW:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            finally:
                self._confirmed.clear()
                with contextlib.suppress(*AWAY):
                    await connection.disconnect(nowait=True)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Until nobody listens any more, or the connection fails."""
        writing = asyncio.create_task(self._write(connection))
        reading = asyncio.create_task(self._read(connection))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, reading):
                task.cancel()
            results = await asyncio.gather(writing, reading, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _write(self, connection: AbstractConnection) -> None:
        """Tell the server what changed; a ping whenever nothing did for a second."""
        told: set[bytes] = set()
        while True:
            self._changed.clear()
            wanted = set(self._wakes)
            if not wanted:
                return
            for command, names in (("SUBSCRIBE", wanted - told), ("UNSUBSCRIBE", told - wanted)):
                for part in chunks(sorted(names), PAGE):
                    await connection.send_command(command, *part, check_health=False)
            told = wanted
            try:
                async with asyncio.timeout(PING_S):  # `wait_for` loses a cancellation that comes together with a change
                    await self._changed.wait()
            except TimeoutError:
                await connection.send_command("PING", check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    reply: Any = await connection.read_response(disable_decoding=True, timeout=None)
            except TimeoutError as error:
                raise ConnectionError("no answer to a ping") from error
            kind, name = reply[0], reply[1]
            if kind == b"subscribe":
                self._confirmed.add(name)
            elif kind == b"unsubscribe":
                self._confirmed.discard(name)
            for wake in self._wakes.get(name, ()):
                if kind == b"subscribe" or (kind == b"message" and (not wake.only_end or END in reply[2])):
                    wake.event.set()


async def events(
    ledger: Ledger, channels: Channels, record: str, *, after: str = "0"
) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """`(id, event)` of every event of `record` (its key) after the cursor, the `end` last. The id is the next cursor.

    Never ends for a log that is never ended; the caller's own deadline applies. Raises `Unreachable` when Redis has been
    away for a minute.
    """
    with channels.listen(f"{record}:ch") as wake:
        while True:
            await wake.wait()
            full = True
            while full:
                entries = await persistently(
                    lambda cursor=after: ledger.client.xrange(f"{record}:log", min=f"({cursor}", count=PAGE)
                )
                full = len(entries) == PAGE
                for raw_id, fields in entries:
                    after = raw_id.decode()
                    event = msgspec.json.decode(fields[b"d"])
                    yield after, event
                    if event["t"] == "end":
                        return


async def persistently(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` returns, tried again while Redis is away, for a minute at most. Raises `Unreachable`."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await read()
        except AWAY as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Unreachable(
                    f"no answer from Redis for {PATIENCE_S:g} s ({type(error).__name__}). What was submitted goes on as "
                    "soon as it is back: come back with the id."
                ) from error
        await asyncio.sleep(RETRY_S)


def chunks(names: list[bytes], size: int) -> list[list[bytes]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
