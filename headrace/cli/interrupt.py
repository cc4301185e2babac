"""Ctrl-C, at every stage of a command: the wait ends at once, what runs in the service goes on, and the way back is said."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from headrace.cli.last_resort import end_soon
from headrace.logs import configure
from headrace.waiting import stop

T = TypeVar("T")

# Who is to be told, the innermost last: Ctrl-C is that one's alone.
_listeners: list[asyncio.Event] = []


class Interrupted(Exception):
    """Ctrl-C was pressed."""


def interruptible(body: Coroutine[Any, Any, T]) -> T:
    """Run `body` as `asyncio.run` does, for a command.

    Ctrl-C sets the event of the innermost `interrupt_noted`. Outside of all it cancels `body` and ends in `KeyboardInterrupt`;
    a cancellation can get lost inside a client's read, so the next `interrupt_noted` begins with its event set.
    """

    async def main() -> T:
        loop, whole = asyncio.get_running_loop(), asyncio.create_task(body)
        pressed = asyncio.Event()

        def press() -> None:
            end_soon()
            if len(_listeners) > 1:
                _listeners[-1].set()
            else:
                pressed.set()
                whole.cancel()

        _listeners.append(pressed)
        loop.add_signal_handler(signal.SIGINT, press)
        try:
            return await whole
        except asyncio.CancelledError:
            if pressed.is_set():
                raise Interrupted from None
            raise
        finally:
            _listeners.remove(pressed)
            loop.remove_signal_handler(signal.SIGINT)

    configure("warning")
    try:
        return asyncio.run(main())
    except Interrupted:
        raise KeyboardInterrupt from None


@contextmanager
def interrupt_noted() -> Iterator[asyncio.Event]:
    """Yield an event that Ctrl-C sets while the block lasts, and has set when it came before and got lost; nothing else
    happens then."""
    interrupted = asyncio.Event()
    if _listeners[0].is_set():
        interrupted.set()
    _listeners.append(interrupted)
    try:
        yield interrupted
    finally:
        _listeners.remove(interrupted)


async def until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Ctrl-C ends it and raises `Interrupted`."""
    with interrupt_noted() as interrupted:
        working, ending = asyncio.create_task(work), asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Interrupted
        finally:
            await stop(working, ending)
        if interrupted.is_set():  # too late for this wait: the next one's
            _listeners[0].set()
        return working.result()
