"""One transport per event loop: a connection belongs to its loop, and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator
from typing import NamedTuple

from headrace import portal
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.transport import Deadlines, Transport


class OnLoop(NamedTuple):
    """A transport, and the generator that closes it."""

    transport: Transport
    closing: AsyncGenerator[None]


Made = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OnLoop]

_inherited: list[list[OnLoop]] = []
"""Transports of the process that this one was forked from. They are kept, and never closed: that would take the other's
connections out of its loop."""


class LoopTransports:
    """The transports of one `owner`, each made when a loop first needs one, and closed when the loop ends; with `given` that one
    for all. A fork begins with none."""

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
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest[0]() is loop:
            return latest[1]
        found = self._of_this_process().get(loop)
        transport = self._new(loop) if found is None else found.transport
        self._latest = weakref.ref(loop), transport
        return transport

    async def close(self) -> None:
        """Close the connections of all loops. The next use reconnects."""
        if self._given is not None:
            await self._given.close()
        for loop, made in list(self._of_this_process().items()):
            if loop is asyncio.get_running_loop():
                await made.closing.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(made.closing.aclose(), loop))
        self._made.clear()
        self._latest = None

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the transport of a loop."""
        self._made.pop(loop, None)
        self._latest = None

    def _new(self, loop: asyncio.AbstractEventLoop) -> Transport:
        assert self._new_transport is not None
        for other in list(self._made):
            if other.is_closed():  # without an end that its generators were told of
                self.forget(other)
        transport = self._new_transport(deadlines=self._deadlines)
        closing = closing_with(loop, transport, weakref.ref(self))
        with contextlib.suppress(StopIteration):
            closing.__anext__().send(None)  # from here on it is one of the loop's
        self._made[loop] = OnLoop(transport, closing)
        owner = self._owner()
        if portal.is_running_here() and owner is not None:  # who calls without `await` need not close anything
            weakref.finalize(owner, close_later, self._process, self._made[loop])
        return transport

    def _of_this_process(self) -> Made:
        if self._process != os.getpid():
            # Their loops look as if they were running: their threads are not here.
            _inherited.append(list(self._made.values()))
            self._made, self._process = weakref.WeakKeyDictionary(), os.getpid()
        return self._made


async def closing_with(
    loop: asyncio.AbstractEventLoop, transport: Transport, owner: weakref.ref[LoopTransports]
) -> AsyncGenerator[None]:
    """Close a transport when the generator is closed, or its loop ends: `asyncio.run` ends the generators that were begun within
    it, while the loop still runs."""
    try:
        yield
    finally:
        transports = owner()
        if transports is not None:
            transports.forget(loop)
        await transport.close()


def close_later(process: int, made: OnLoop) -> None:
    """Close a transport on the loop of calls without `await`, unless it is another process's."""
    if process == os.getpid():
        portal.later(made.closing.aclose)
    else:
        _inherited.append([made])
