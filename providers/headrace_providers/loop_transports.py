"""One transport per event loop: a connection belongs to its loop."""

from __future__ import annotations

import asyncio
import weakref

from headrace import portal
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.transport import Deadlines, Transport


class LoopTransports:
    """The transports of one `owner`, each made when a loop first needs one; with `given` that one for all."""

    def __init__(self, owner: object, deadlines: Deadlines, given: Transport | None):
        self._owner = weakref.ref(owner)
        self._deadlines = deadlines
        self._new_transport = transport_of() if given is None else None
        self._given = given
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport] = weakref.WeakKeyDictionary()
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
        transport = self._made.get(loop)
        if transport is None:
            transport = self._made[loop] = self._new_transport(deadlines=self._deadlines)
            owner = self._owner()
            if portal.is_running_here() and owner is not None:  # who calls without `await` need not close anything
                weakref.finalize(owner, portal.later, transport.close)
        self._latest = weakref.ref(loop), transport
        return transport

    async def close(self) -> None:
        """Close the connections of all loops. The next use reconnects."""
        if self._given is not None:
            await self._given.close()
        for loop, transport in list(self._made.items()):
            if loop is asyncio.get_running_loop():
                await transport.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(transport.close(), loop))
        self._made.clear()
        self._latest = None
