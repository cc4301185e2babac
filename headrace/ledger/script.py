"""The ledger's connection: one Lua script per move, its keys and arguments bound by name.

A script's first lines declare its parameters (`local job, due = unpack(KEYS)`), and `-- uses:` names the fragments
prepended to it. Every script is idempotent: redis-py repeats a command whose reply was lost. A reply begins with a word of
one closed enum: `OK`, or a refusal, which is raised as the exception of that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from headrace import errors
from headrace.ledger.command_packing import packing
from headrace.ledger.keys import Keys

Argument = str | bytes | int

REFUSALS: dict[bytes, type[errors.Refused]] = {
    b"BUSY": errors.Busy,
    b"FINISHED": errors.Finished,
    b"CANCELLED": errors.Cancelled,
    b"DEAD": errors.Dead,
    b"PAUSED": errors.Paused,
    b"UNKNOWN": errors.Unknown,
    b"FENCED": errors.Fenced,
    b"CLOSED": errors.Closed,
    b"GAP": errors.Gap,
    b"CONFLICT": errors.Conflict,
    b"DAMAGED": errors.Damaged,
    b"SPILL": errors.Spill,
    b"SHOWN": errors.Shown,
}

# The server's own state, in whose words an error inside a script is told too.
OF_THE_SERVER = (
    "OOM ",
    "READONLY ",
    "MISCONF ",
    "LOADING ",
    "BUSY ",
    "NOREPLICAS ",
    "MASTERDOWN ",
    "CLUSTERDOWN ",
    "NOPERM ",
)
MAX_DETAIL = 200

FOLDER = Path(__file__).parent
CONNECTIONS = 8


class Script(NamedTuple):
    source: str
    sha: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]


class ScriptCall(NamedTuple):
    """One call of a move: the record it is about, and what `Ledger.run` takes."""

    subject: str
    keys: dict[str, str]
    arguments: dict[str, Argument]
    rest: Sequence[Argument] = ()


@cache
def script(name: str) -> Script:
    """Return the script of the move `name`, with its fragments, and the names of its keys and arguments."""
    text = (FOLDER / f"{name}.lua").read_text()
    uses = re.match(r"-- uses: (.*)", text)
    fragments = [(FOLDER / "fragments" / f"{part}.lua").read_text() for part in (uses[1].split() if uses else [])]
    keys = re.search(r"local ([\w, ]+) = unpack\(KEYS\)", text)
    arguments = re.search(r"local ([\w, ]+) = unpack\(ARGV(?:, 1, (\d+))?\)", text)
    if keys is None or arguments is None:
        raise ValueError(f"{name}.lua does not name its keys and arguments")
    names = tuple(arguments[1].split(", "))
    if arguments[2] and int(arguments[2]) != len(names):
        raise ValueError(f"{name}.lua unpacks {arguments[2]} arguments into {len(names)} names")
    source = "\n".join([*fragments, text])
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest(), tuple(keys[1].split(", ")), names)


def connect(url: str, *, connections: int = CONNECTIONS, retries: int = 3, timeout_s: float = 5.0) -> aioredis.Redis:
    """Return a client whose pool blocks for a free connection instead of raising, and that repeats a lost command up to
    `retries` times."""
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        health_check_interval=10,
    )
    pool.connection_class = packing(pool.connection_class)
    return aioredis.Redis.from_pool(pool)


class Ledger:
    """The records in Redis under one namespace: the source of truth. Moves are the modules beside this one."""

    def __init__(self, client: aioredis.Redis, namespace: str = "hr"):
        # Any: redis-py types its replies for clients that decode and for those that do not, at once; this one does not.
        self.client: Any = client
        self.keys = Keys(namespace)
        self.namespace = namespace
        self._loaded: set[str] = set()  # scripts that the server knows, unless it has begun anew

    @classmethod
    def at(cls, url: str, namespace: str = "hr", **options: Any) -> Ledger:
        return cls(connect(url, **options), namespace)

    async def close(self) -> None:
        await self.client.aclose()

    async def ping(self) -> None:
        """Ping the server. Raises what the connection raises."""
        await self.client.ping()

    async def send(self, commands: Sequence[Sequence[Argument]]) -> None:
        """Pipeline `commands` in one round trip: hints, for the broker on the same server. Records are changed by moves
        alone."""
        async with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            await pipeline.execute()

    @property
    def connection_pool(self) -> Any:
        """The pool that a listener takes a connection of its own from."""
        return self.client.connection_pool

    async def run(
        self,
        name: str,
        subject: str,
        keys: dict[str, str],
        arguments: dict[str, Argument],
        rest: Sequence[Argument] = (),
    ) -> list[bytes]:
        """Run the move `name` and return what follows `OK`. Raises a `Refused` about `subject` otherwise."""
        what = script(name)
        call = bind(what, keys, arguments, rest)
        try:
            try:
                reply = await self.client.evalsha(what.sha, len(what.keys), *call)
            except NoScriptError:
                reply = await self.client.eval(what.source, len(what.keys), *call)
        except ResponseError as error:
            if is_damage(error):
                raise errors.Damaged(subject, str(error)[:MAX_DETAIL]) from error
            raise
        return accepted(reply, subject)

    async def run_many(
        self, name: str, calls: Sequence[ScriptCall], then: Sequence[Sequence[Argument]] = ()
    ) -> list[list[bytes] | errors.Refused]:
        """Run the move `name` for all `calls`, and the commands `then`, in one round trip.

        Returns what follows `OK`, or the refusal, of each call. Idempotent, as `run` is.
        """
        what = script(name)
        bound = [bind(what, call.keys, call.arguments, call.rest) for call in calls]
        while True:
            # EVALSHA fails on a server that does not know the script, and `then` is done all the same.
            is_known = what.sha in self._loaded
            async with self.client.pipeline(transaction=False) as pipeline:
                if not is_known:
                    pipeline.script_load(what.source)
                for call in bound:
                    pipeline.evalsha(what.sha, len(what.keys), *call)
                for command in then:
                    pipeline.execute_command(*command)
                replies = (await pipeline.execute(raise_on_error=False))[0 if is_known else 1 :]
            if is_known and any(isinstance(reply, NoScriptError) for reply in replies):
                self._loaded.clear()  # it began anew
                continue
            self._loaded.add(what.sha)
            for at, reply in enumerate(replies):
                if isinstance(reply, RedisError) and not (at < len(calls) and is_damage(reply)):
                    raise reply
            return each_accepted(calls, replies)

    async def run_group(
        self, name: str, calls: Sequence[ScriptCall]
    ) -> list[list[bytes] | errors.Refused | RedisError]:
        """Run calls as `run_many` does, by the script's hash (`EVALSHA`): for frequent moves. Errors of single calls are
        returned, an error of all of them is raised."""
        what = script(name)
        bound = [bind(what, call.keys, call.arguments, call.rest) for call in calls]
        while True:
            async with self.client.pipeline(transaction=False) as pipeline:
                for call in bound:
                    pipeline.evalsha(what.sha, len(what.keys), *call)
                replies = await pipeline.execute(raise_on_error=False)
            failures = [reply for reply in replies if isinstance(reply, RedisError)]
            if any(isinstance(failure, NoScriptError) for failure in failures):
                await self.client.script_load(what.source)
                continue
            # For damage the record itself is to blame, also when it is alone.
            if len(failures) == len(calls) and not all(is_damage(one) for one in failures):
                raise failures[0]
            return each_accepted(calls, replies)


def is_damage(error: BaseException) -> bool:
    """Return True if a script failed because of the contents of a record: a retry would fail again. Any other error of the
    server (no memory, no disk, a replica, still loading) is not about a record."""
    text = str(error)
    if type(error) is not ResponseError or any(code in text for code in OF_THE_SERVER):
        return False
    return text.startswith("WRONGTYPE") or "user_script" in text


def each_accepted(calls: Sequence[ScriptCall], replies: Sequence[Any]) -> list[Any]:
    """Return what follows `OK` in each reply, or its refusal, or the error that it is."""
    found: list[Any] = []
    for call, reply in zip(calls, replies, strict=False):
        try:
            if isinstance(reply, RedisError):
                found.append(errors.Damaged(call.subject, str(reply)[:MAX_DETAIL]) if is_damage(reply) else reply)
            else:
                found.append(accepted(reply, call.subject))
        except errors.Refused as refused:
            found.append(refused)
    return found


def bind(
    what: Script, keys: dict[str, str], arguments: dict[str, Argument], rest: Sequence[Argument]
) -> list[Argument]:
    """Return the script's keys and arguments in its own order. Raises `TypeError` for a missing or an unknown name."""
    if set(what.keys) != set(keys) or set(what.arguments) != set(arguments):
        raise TypeError(f"the script takes {what.keys} and {what.arguments}, got {tuple(keys)} and {tuple(arguments)}")
    return [*(keys[key] for key in what.keys), *(arguments[argument] for argument in what.arguments), *rest]


def accepted(reply: list[bytes], subject: str) -> list[bytes]:
    """Return what follows `OK` in a script's reply. Raises the refusal."""
    if reply[0] == b"OK":
        return reply[1:]
    detail = reply[1].decode() if len(reply) > 1 and isinstance(reply[1], bytes) else ""
    raise REFUSALS[reply[0]](subject, detail)


def fields(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Return a hash from the reply that lists it: field, value, field, value."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


UNAVAILABLE = (RedisError, OSError)
"""Exceptions of a command while Redis is unavailable; moves are safe to retry after them."""
