"""A batch's progress on a terminal (a bar with items/s, tokens and time left) or as plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import click

from headrace.cli import terminal
from headrace.cli.interrupt import Interrupted, until_interrupted

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace
    from headrace.events.types import BatchCounts
    from headrace.ledger.summaries import Batch

PLAIN_EVERY_S = 2.0


async def watch_batch(client: AsyncHeadrace, batch_id: str, back: str | None = None) -> Batch:
    """Show progress until the batch has ended; returns it. Ctrl-C detaches: the batch goes on, and `back` (watch) comes back
    to it."""
    await client.batch(batch_id).progress()  # an id that is not there is said at once
    shown = ProgressBar() if terminal.is_terminal(err=True) else PlainProgress()

    async def show() -> None:
        from headrace.events.types import BatchCounts

        async for each in client.batch(batch_id).events():
            if isinstance(each.event, BatchCounts):  # a newer release may tell of more
                shown.update(each.event)

    try:
        await until_interrupted(show())
    except Interrupted:
        shown.close()
        detached(batch_id, back)
    finally:
        shown.close()
    return await client.batch(batch_id).progress()


def detached(batch_id: str, back: str | None = None) -> NoReturn:
    back = back or f"headrace watch {batch_id}"
    terminal.echo(f"\ndetached; the batch goes on. Come back to it: {back}", err=True)
    raise click.Abort


def why_of(event: BatchCounts) -> str:
    """Return the reason of a standstill: that of a pause, or what its calls wait for."""
    return event.reason or event.waiting or ""


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

    def __init__(self) -> None:
        self._rate = Rate()
        self._last = 0.0
        self._why = ""

    def update(self, event: BatchCounts) -> None:
        from headrace.events.types import BatchProgress

        rate, left_s = self._rate.of(event)
        why = why_of(event)
        again = isinstance(event, BatchProgress) and bool(why) == bool(self._why)
        if again and time.monotonic() - self._last < PLAIN_EVERY_S:
            return
        self._last, self._why = time.monotonic(), why
        bad = event.unsuccessful
        terminal.echo(
            f"{event.state}: {event.done}/{event.total} items"
            + (f", {bad} not succeeded" if bad else "")
            + f", {rate:.0f} items/s, {event.input_tokens}+{event.output_tokens} tokens"
            + (f", {left_s:.0f} s left" if left_s is not None and event.state == "in_progress" else "")
            + (f" ({why})" if why else ""),
            err=True,
        )

    def close(self) -> None:
        pass


class ProgressBar:
    """A progress bar on stderr."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._rate = Rate()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} items/s"),
            TextColumn("{task.fields[tokens]} tokens"),
            TextColumn("[red]{task.fields[bad]}[/red]"),
            TimeRemainingColumn(),
            console=terminal.console(err=True),
        )
        self._task = self._progress.add_task("in_progress", rate=0.0, tokens=0, bad="")
        self._progress.start()

    def update(self, event: BatchCounts) -> None:
        bad = event.unsuccessful
        self._progress.update(
            self._task,
            description=terminal.visible(" ".join(f"{event.state} {why_of(event)}".split())),
            total=event.total,
            completed=event.done,
            rate=self._rate.of(event)[0],
            tokens=event.input_tokens + event.output_tokens,
            bad=f"{bad} not succeeded" if bad else "",
        )

    def close(self) -> None:
        self._progress.stop()
