"""A meter on the wire between the service and its Redis: every command with its size, and how many round trips carry them.

A proxy in a thread of its own. It sees what clients send, not what scripts do within the server, so that a move of the ledger is
one command, named as its script. Counts depend on no clock: they hold on any machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.ledger.script import FOLDER, script

BACKGROUND = frozenset(
    {
        *("beat", "lead", "due", "recover", "expire", "announce", "limit_configure"),  # however much there is to do
        *("ZRANGE", "INFO"),
        *("PING", "HELLO", "CLIENT", "SELECT", "AUTH"),  # of connections
        "BRPOP, idle",
    }
)
"""Commands that come by the clock, or with a connection: more of them on a slow machine."""
CELERY = frozenset({"MULTI", "EXEC", "ZADD", "HSET", "ZREM", "HDEL", "PUBLISH"})
"""What Celery writes of hints that a worker holds, and its events for Flower: in groups, of whatever came meanwhile."""


@dataclass
class Sent:
    """A command: its name (that of the move, for a script's), its words, its bytes on the wire, its connection and the round
    trip of that one that it belongs to."""

    name: str
    words: Sequence[bytes]
    size: int
    connection: int
    turn: int


class Traffic(NamedTuple):
    """Commands that the service sent within a stretch of work, and the connections that it opened meanwhile."""

    sent: Sequence[Sent]
    connections: int

    @property
    def work(self) -> list[Sent]:
        """All but those of the background."""
        return [each for each in self.sent if each.name not in BACKGROUND]

    @property
    def commands(self) -> Counter[str]:
        return Counter(each.name for each in self.work)

    @property
    def background(self) -> Counter[str]:
        return Counter(each.name for each in self.sent if each.name in BACKGROUND)

    @property
    def round_trips(self) -> int:
        """How often a process wrote to the server: a pipeline is one. Without Celery's groups."""
        return len({(each.connection, each.turn) for each in self.work if each.name not in CELERY})

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.work)

    @property
    def hints(self) -> int:
        """Messages that were put into Celery's queues."""
        return sum(len(each.words) - 2 for each in self.sent if each.name == "LPUSH")

    def ended_tasks(self) -> int:
        """How many tasks Flower was told of to their end, by Celery's events."""
        published = (each.words[2] for each in self.sent if each.name == "PUBLISH" and b"celeryev" in each.words[1])
        bodies = (b64decode(json.loads(message)["body"]) for message in published)
        return sum(body.count(b'"type": "task-succeeded"') for body in bodies)


class Meter:
    """The proxy before the server at the Unix socket `server`; `url` is for the clients."""

    def __init__(self, server: str):
        self._server = server
        self._moves = {script(path.stem).sha.encode(): path.stem for path in FOLDER.glob("*.lua")}
        self._sent: list[Sent] = []
        self._connections = 0
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def seen(self) -> Traffic:
        """Return what was sent since the last `take`."""
        return Traffic(tuple(self._sent), self._connections)

    def take(self) -> Traffic:
        """Return what was sent since the last call."""
        sent, self._sent = self._sent, []
        connections, self._connections = self._connections, 0
        return Traffic(sent, connections)

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        wire = Wire(self._moves, next(self._numbers), self._note)
        try:
            there, back = await asyncio.open_unix_connection(self._server)
            ways = [
                asyncio.ensure_future(carried(reader, back, wire.sent)),
                asyncio.ensure_future(carried(there, writer, wire.answered)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def _note(self, command: Sent) -> None:
        self._sent.append(command)


class Wire:
    """One connection, read as it passes."""

    def __init__(self, moves: dict[bytes, str], connection: int, note: Callable[[Sent], None]):
        self._moves, self._connection, self._note = moves, connection, note
        self._buffer = b""
        self._turn = 0
        self._is_answered = True
        self._last: Sent | None = None

    def sent(self, data: bytes) -> None:
        if self._is_answered:
            self._turn, self._is_answered = self._turn + 1, False
        self._buffer += data
        at = 0
        while (command := parsed(self._buffer, at)) is not None:
            words, end = command
            self._last = Sent(self._name(words), words, end - at, self._connection, self._turn)
            self._note(self._last)
            at = end
        self._buffer = self._buffer[at:]

    def answered(self, data: bytes) -> None:
        self._is_answered = True
        if self._last is not None and self._last.name == "BRPOP" and data[:3] in (b"*-1", b"$-1", b"_\r\n"):
            self._last.name = "BRPOP, idle"

    def _name(self, words: Sequence[bytes]) -> str:
        name = words[0].upper().decode()
        if name == "EVALSHA":
            return self._moves.get(words[1], "EVALSHA")
        return name


def parsed(buffer: bytes, at: int) -> tuple[list[bytes], int] | None:
    """Return the words of the command that begins at `at`, and where it ends; None when it is not all there."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        return None
    count, words = int(buffer[at + 1 : end]), []
    at = end + 2
    for _ in range(count):
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(buffer[at + 1 : end])
        at = end + 2 + size + 2
        if len(buffer) < at:
            return None
        words.append(buffer[end + 2 : end + 2 + size])
    return words, at


async def carried(source: asyncio.StreamReader, target: asyncio.StreamWriter, look: Callable[[bytes], None]) -> None:
    while data := await source.read(1 << 18):
        look(data)
        target.write(data)
        await target.drain()


@contextmanager
def in_thread(*servers: Callable[[], Coroutine[Any, Any, asyncio.Server]]) -> Iterator[None]:
    """Serve on a loop in a thread, until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened = [asyncio.run_coroutine_threadsafe(serve(), loop).result(30) for serve in servers]
    try:
        yield
    finally:

        async def end() -> None:
            for server in opened:
                server.close()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
