"""Ctrl-C, at every stage of a command: the wait ends at once, what runs in the service goes on, and the way back is said."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

# Who is to be told, the innermost last: Ctrl-C is that one's alone.
_listeners: list[asyncio.Event] = []


class Interrupted(Exception):
    """Ctrl-C was pressed."""


@contextmanager
def interrupt_noted() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C sets while the block lasts; nothing else happens then."""
    # A handler of our own: a cancellation (what `asyncio.run` makes of Ctrl-C) can get lost inside a client's read.
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    if not _listeners:
        loop.add_signal_handler(signal.SIGINT, lambda: _listeners[-1].set())
    _listeners.append(interrupted)
    try:
        yield interrupted
    finally:
        _listeners.remove(interrupted)
        if not _listeners:
            loop.remove_signal_handler(signal.SIGINT)


async def until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Ctrl-C ends the wait for it and raises `Interrupted`."""
    with interrupt_noted() as interrupted:
        working, ending = asyncio.create_task(work), asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise Interrupted
        finally:
            working.cancel()
            ending.cancel()
