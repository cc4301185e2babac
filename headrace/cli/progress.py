"""Commands that watch a batch: its progress on standard error, and the way back to it after Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from headrace.cli import terminal
from headrace.cli.interrupt import Interrupted, until_interrupted

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace
    from headrace.ledger.summaries import Batch


async def watch_batch(client: AsyncHeadrace, batch_id: str, back: str | None = None) -> Batch:
    """Show progress until the batch has ended; returns it. Ctrl-C detaches: the batch goes on, and `back` (watch) comes back
    to it."""
    from headrace.client.batch_progress import PlainProgress, ProgressBar

    await client.batch(batch_id).progress()  # an id that is not there is said at once
    shown: ProgressBar | PlainProgress
    if terminal.is_terminal(err=True):
        shown = ProgressBar(terminal.console(err=True))
    else:
        shown = PlainProgress(lambda line: terminal.echo(line, err=True))

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
