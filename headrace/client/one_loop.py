"""Bind a client to one event loop: a connection can only be awaited on the loop that opened it."""

from __future__ import annotations

import asyncio

from headrace.errors import HeadraceError
from headrace.events.reader import Reader
from headrace.ledger.script import Ledger


class LoopBound:
    """The connections of a client, bound to the loop of their first use until they are closed. `ledger` and `reader` raise
    `HeadraceError` on any other loop. Without a running loop they are returned as they are."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._reader = Reader(ledger)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ledger(self) -> Ledger:
        self.check_loop()
        return self._ledger

    @property
    def reader(self) -> Reader:
        self.check_loop()
        return self._reader

    def check_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            over = "that has ended" if self._loop.is_closed() else "that is still there"
            raise HeadraceError(
                f"this AsyncHeadrace was used on another event loop before, one {over}: its connections belong to that one. "
                "Make a client inside each asyncio.run() (`async with AsyncHeadrace() as client`), or use Headrace, which "
                "needs no event loop"
            )

    async def close(self) -> None:
        """Close the connections. Submitted jobs go on."""
        await self.reader.close()
        await self.ledger.close()
        self._loop = None
