"""Packing of commands by hiredis, where that is installed: redis-py's asyncio connections read replies with it, but put commands
together in Python, argument by argument. Of a script with hundreds of arguments that is most of what it costs its caller."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import AbstractConnection

try:
    from hiredis import pack_command
except ImportError:  # the base install, without workers and gateway
    pack_command = None


def packing(connection: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a class of the same connections, that packs its commands with hiredis; the class itself where that is missing."""
    if pack_command is None:
        return connection
    pack = pack_command

    def packed(self: AbstractConnection, *args: Any) -> list[bytes]:
        name = args[0]
        words: tuple[Any, ...] = tuple(name.split()) if isinstance(name, str) else (name,)
        try:
            return [pack((*words, *args[1:]))]
        except TypeError:  # a memoryview; or nothing that could be sent, which redis-py says better
            return connection.pack_command(self, *args)

    return type(connection.__name__, (connection,), {"pack_command": packed})
