"""The progress of a batch for people: a bar (items/s, tokens, money, calls that were repeated, time left), or plain lines where
no bar can be drawn."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from headrace.client.event_dict import EventDict
from headrace.events.types import BatchCounts, BatchEvent, BatchProgress
from headrace.spend.money import usd_text
from headrace.text.visible import visible
from headrace.waiting import stop

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_EVERY_S = 2.0
LAST_EVENTS_S = 1.0


def progress_display() -> ProgressBar | PlainProgress:
    """Return a bar on a terminal and in a notebook (where the extra `notebook` is installed), plain lines on standard error
    elsewhere."""
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if console.is_terminal if not console.is_jupyter else find_spec("ipywidgets"):
        return ProgressBar(console)
    return PlainProgress(lambda line: sys.stderr.write(f"{visible(line)}\n"))


@asynccontextmanager
async def displayed(events: AsyncGenerator[EventDict[BatchEvent]]) -> AsyncIterator[None]:
    """Show the progress that `events` tells of, for the time of the block; after its end what is left of them, for a second."""
    display = progress_display()

    async def show() -> None:
        async with aclosing(events):
            async for each in events:
                if isinstance(each.event, BatchCounts):  # a newer release may tell of more
                    display.update(each.event)

    showing = asyncio.create_task(show())
    try:
        yield
        await asyncio.wait({showing}, timeout=LAST_EVENTS_S)
    finally:
        await stop(showing)
        display.close()


def why_of(event: BatchCounts) -> str:
    """Return the reason of a standstill: that of a pause, or what its calls wait for."""
    return event.reason or event.waiting or ""


def spent(event: BatchCounts) -> list[str]:
    """Return what was paid, what was paid again, and what cost nothing: each only where there is some."""
    return [
        *([f"{usd_text(event.cost_nano_usd)} USD"] if event.cost_nano_usd else []),
        *([f"{event.retried} calls repeated"] if event.retried else []),
        *([f"{event.cached} from the cache"] if event.cached else []),
    ]


class Rate:
    """Items a second since the first event, by the server's clock, and the seconds that are left."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None

    def of(self, event: BatchCounts) -> tuple[float, float | None]:
        done = event.done
        if self._first is None:
            self._first = (event.at, done)
        began, had = self._first
        seconds = (event.at - began) / 1000
        rate = (done - had) / seconds if seconds > 0 else 0.0
        return rate, ((event.total - done) / rate if rate else None)


class PlainProgress:
    """A line every two seconds, and one at every change of state."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._rate = Rate()
        self._last = 0.0
        self._why = ""

    def update(self, event: BatchCounts) -> None:
        rate, left_s = self._rate.of(event)
        why = why_of(event)
        again = isinstance(event, BatchProgress) and bool(why) == bool(self._why)
        if again and time.monotonic() - self._last < PLAIN_EVERY_S:
            return
        self._last, self._why = time.monotonic(), why
        bad = event.unsuccessful
        self._say(
            f"{event.state}: {event.done}/{event.total} items"
            + (f", {bad} not succeeded" if bad else "")
            + f", {rate:.0f} items/s, {event.input_tokens}+{event.output_tokens} tokens"
            + "".join(f", {words}" for words in spent(event))
            + (f", {left_s:.0f} s left" if left_s is not None and event.state == "in_progress" else "")
            + (f" ({why})" if why else "")
        )

    def close(self) -> None:
        pass


class ProgressBar:
    """A progress bar."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._rate = Rate()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} items/s"),
            TextColumn("{task.fields[tokens]} tokens"),
            TextColumn("{task.fields[spent]}", markup=False),
            TextColumn("[red]{task.fields[bad]}[/red]"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("in_progress", rate=0.0, tokens=0, spent="", bad="")
        self._progress.start()

    def update(self, event: BatchCounts) -> None:
        bad = event.unsuccessful
        self._progress.update(
            self._task,
            description=visible(" ".join(f"{event.state} {why_of(event)}".split())),
            total=event.total,
            completed=event.done,
            rate=self._rate.of(event)[0],
            tokens=event.input_tokens + event.output_tokens,
            spent=", ".join(spent(event)),
            bad=f"{bad} not succeeded" if bad else "",
        )

    def close(self) -> None:
        self._progress.refresh()  # in a notebook nothing else shows the last update
        self._progress.stop()
