"""One raw connection that subscribes to any number of channels, owned by a single actor task.

redis-py's own `PubSub` reports neither a message lost in a reconnect nor a half-open connection. Here the wanted channels
and the confirmed ones are two sets, and the difference is sent. Every confirmation is reported, because messages before it
may have been lost. A connection that is silent for `SILENCE_S`, though pinged, is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.waiting import stop

AT_ONCE = 500
PING_S = 1.0
SILENCE_S = 3.0
LINGER_S = 2.0
"""Seconds that a connection without channels is kept, for whoever comes next; below `SILENCE_S`."""
MAX_BACKOFF_S = 1.0
NOT_NOW = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError)
# Two frames fewer to tell apart than RESP3; over TCP redis-py then refuses its maintenance notifications.
RESP2 = {"protocol": 2, "maint_notifications_config": MaintNotificationsConfig(enabled=False)}


class Listener(Protocol):
    """A listener of a channel. None of the three may block or raise."""

    def on_confirmed(self) -> None:
        """Handle a confirmed subscription, once for each of every connection: every message comes from here on; those
        before may be lost."""
        ...

    def on_message(self, payload: bytes) -> None: ...

    def on_failure(self, error: BaseException) -> None:
        """Handle the end of listening: the actor met an error that is none of the connection's."""
        ...


class Subscriber:
    """Listeners by channel. The connection opens with the first channel and closes some time after the last."""

    def __init__(self, ledger: Ledger):
        self._pool: Any = ledger.connection_pool
        self._listeners: dict[bytes, Listener] = {}
        self._confirmed: set[bytes] = set()  # by the server, on the present connection
        self._told: set[bytes] = set()  # what is subscribed to on the present connection, confirmed or not
        self._links = 0
        self._is_closing = False
        self._changed = asyncio.Event()
        self._recycle = asyncio.Event()
        self._actor: asyncio.Task[None] | None = None

    def listen(self, channel: str, listener: Listener) -> None:
        """Pass every message on `channel` to `listener`, until `leave`. One listener per channel."""
        name = channel.encode()
        self._is_closing = False
        self._listeners[name] = listener
        self._changed.set()
        if self._actor is None or self._actor.done():
            self._actor = asyncio.create_task(self._run())
            self._actor.add_done_callback(self._on_end)
        elif name in self._confirmed:
            # It was left, and the server may not have been told yet: then no new confirmation comes.
            listener.on_confirmed()

    def leave(self, channel: str) -> None:
        self._listeners.pop(channel.encode(), None)
        self._changed.set()

    def link(self, channel: str) -> int:
        """Return the number of the connection on which the subscription to `channel` was sent; 0 before that. What is published
        in reply to a command that is sent later arrives on that connection."""
        return self._links if channel.encode() in self._told else 0

    def recycle(self) -> None:
        """Drop the connection and subscribe anew: it seems healthy, but messages do not arrive."""
        self._recycle.set()

    async def close(self) -> None:
        self._is_closing = True
        self._listeners.clear()
        self._changed.set()
        await stop(self._actor)

    def _on_end(self, actor: asyncio.Task[None]) -> None:
        failure = None if actor.cancelled() else actor.exception()
        if failure is not None:
            for listener in list(self._listeners.values()):
                listener.on_failure(failure)

    async def _run(self) -> None:
        backoff_s = 0.02
        options = {**self._pool.connection_kwargs, **RESP2, "retry": Retry(NoBackoff(), 0)}
        options["socket_connect_timeout"] = SILENCE_S
        while self._listeners:
            connection = self._pool.connection_class(**options)
            self._recycle.clear()
            self._links += 1
            try:
                await connection.connect()
                backoff_s = 0.02
                await self._serve(connection)
            except NOT_NOW:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
            finally:
                self._confirmed.clear()
                self._told = set()
                with contextlib.suppress(*UNAVAILABLE):
                    await connection.disconnect(nowait=True)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Serve until there are no listeners, or the connection fails."""
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(each) for each in (self._write(connection), self._read(connection))
        ]
        tasks.append(asyncio.create_task(self._recycled()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await stop(*tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _recycled(self) -> None:
        await self._recycle.wait()

    async def _write(self, connection: AbstractConnection) -> None:
        """Send the changed subscriptions; a ping after every second without a change. Ends when none is wanted any more."""
        while True:
            self._changed.clear()
            wanted = set(self._listeners)
            if self._is_closing and not wanted:
                return
            for command, names in (("SUBSCRIBE", wanted - self._told), ("UNSUBSCRIBE", self._told - wanted)):
                for part in chunks(sorted(names), AT_ONCE):
                    self._told.symmetric_difference_update(part)  # it is written before it is waited for
                    await connection.send_command(command, *part, check_health=False)
            try:
                # `wait_for` loses a cancellation that comes together with a change
                async with asyncio.timeout(PING_S if wanted else LINGER_S):
                    await self._changed.wait()
            except TimeoutError:
                if not wanted:
                    return
                await connection.send_command("PING", check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    # On an error redis-py would close what `_write` may be using at this moment; `_run` closes it.
                    reply: Any = await connection.read_response(
                        disable_decoding=True, timeout=None, disconnect_on_error=False
                    )
            except TimeoutError as error:
                raise ConnectionError("no answer to a ping") from error
            kind, name = reply[0], reply[1]
            if kind == b"unsubscribe":
                self._confirmed.discard(name)
                continue
            listener = self._listeners.get(name)
            if kind == b"subscribe":
                self._confirmed.add(name)
                if listener is not None:
                    listener.on_confirmed()
            elif kind == b"message" and listener is not None:
                listener.on_message(reply[2])


def chunks(names: list[bytes], size: int) -> list[list[bytes]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
