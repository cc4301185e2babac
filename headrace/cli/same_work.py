"""The same command again: which batch goes on with the same work, and whether what is there are its results."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headrace.cli import terminal
from headrace.cli.batches import writer_of
from headrace.cli.out import checked_out
from headrace.errors import Closed, HeadraceError
from headrace.spend.money import usd_of, usd_text

if TYPE_CHECKING:
    from headrace.batches.template import Template
    from headrace.client.async_client import AsyncHeadrace


class WrittenBefore(NamedTuple):
    """The batch whose results are there, untouched; and that of the same work which succeeded throughout, if there is one."""

    batch_id: str
    complete: str | None

    @property
    def is_all(self) -> bool:
        return self.batch_id == self.complete


async def written_before(
    client: AsyncHeadrace, work: str, out: Path, *, whole: bool, excel: bool
) -> WrittenBefore | None:
    """Return what is at `out` of the same work, and may be replaced; None where nothing is there any more. Raises `InputError`
    for anything else that is there."""
    known = await client.backend.batch_of_work(work)
    if known is None:
        await asyncio.to_thread(checked_out, out, whole=whole, excel=excel, force=False)
        return None
    writer = await writer_of(client, known.id, out, whole=whole, excel=excel)
    if writer is None:
        return None
    is_complete = known.ended and known.succeeded == known.total
    return WrittenBefore(writer, known.id if is_complete else None)


async def earlier_batch(client: AsyncHeadrace, template: Template, work: str) -> str | None:
    """Return the batch that goes on with the same work: one that is open, or that pays for what has failed before; None when
    there is none."""
    known = await client.backend.batch_of_work(work)
    if known is None or known.state == "cancelling" or (known.ended and known.succeeded == known.total):
        return None
    fresh = "(--new opens another one)"
    if not known.ended:
        terminal.echo(
            f"{known.id} does the same, {known.done} of {known.total} items are done: joined {fresh}", err=True
        )
        if template.budget and known.budget_usd != usd_of(template.budget):
            terminal.echo(f"its budget is {usd_text(template.budget)} USD now", err=True)
            budget = usd_text(template.budget)
            await client.set_budget(known.id, budget, allow_unpriced=template.unpriced)
        elif known.state == "paused":
            terminal.echo(f"it was paused, and goes on now: {known.reason}", err=True)
            with suppress(Closed):  # it has ended since
                await client.resume(known.id)
        return known.id
    try:
        retry = await client.retry(known.id)
    except HeadraceError:  # past its retention, or nothing of it has run
        return None
    failed = known.total - known.succeeded
    terminal.echo(
        f"{known.id} has done the same but for {failed} of {known.total} items: {retry} does those {fresh}", err=True
    )
    return retry
