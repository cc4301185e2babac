"""One transport per event loop: a connection belongs to its loop."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from headrace import portal
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.transport import Deadlines, Transport

Made = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport]

_inherited: list[list[Transport]] = []
"""Transports of the process that this one was forked from. They are kept, and never closed: that would take the other's
connections out of its loop."""


class LoopTransports:
    """The transports of one `owner`, each made when a loop first needs one; with `given` that one for all. A fork begins with
    none."""

    def __init__(self, owner: object, deadlines: Deadlines, given: Transport | None):
        self._owner = weakref.ref(owner)
        self._deadlines = deadlines
        self._new_transport = transport_of() if given is None else None
        self._given = given
        self._made: Made = weakref.WeakKeyDictionary()
        self._process = os.getpid()
        self._latest: tuple[weakref.ref[asyncio.AbstractEventLoop], Transport] | None = None

    def here(self) -> Transport:
        """Return the transport of the running loop."""
        if self._given is not None:
            return self._given
        assert self._new_transport is not None
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest[0]() is loop:
            return latest[1]
        made = self._of_this_process()
        transport = made.get(loop)
        if transport is None:
            transport = made[loop] = self._new_transport(deadlines=self._deadlines)
            owner = self._owner()
            if portal.is_running_here() and owner is not None:  # who calls without `await` need not close anything
                weakref.finalize(owner, close_later, self._process, transport.close)
        self._latest = weakref.ref(loop), transport
        return transport

    async def close(self) -> None:
        """Close the connections of all loops. The next use reconnects."""
        if self._given is not None:
            await self._given.close()
        made = self._of_this_process()
        for loop, transport in list(made.items()):
            if loop is asyncio.get_running_loop():
                await transport.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(transport.close(), loop))
        made.clear()
        self._latest = None

    def _of_this_process(self) -> Made:
        if self._process != os.getpid():
            # Their loops look as if they were running: their threads are not here.
            _inherited.append(list(self._made.values()))
            self._made, self._process = weakref.WeakKeyDictionary(), os.getpid()
        return self._made


def close_later(process: int, close: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Close a transport on the loop of calls without `await`, unless it is another process's."""
    if process == os.getpid():
        portal.later(close)
    else:
        _inherited.append([close.__self__])  # pyright: ignore[reportFunctionMemberAccess]
