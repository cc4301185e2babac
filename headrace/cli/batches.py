"""`headrace batches …` and `headrace watch`: what there is, how it goes, how to stop or to repeat it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from headrace.cli.progress import watch_batch

if TYPE_CHECKING:
    from headrace.client import AsyncHeadrace

T = TypeVar("T")


@click.group(epilog="Example: headrace batches list")
def batches() -> None:
    """List, show, cancel and retry batches."""


@batches.command("list", epilog="Example: headrace batches list --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_batches(as_json: bool) -> None:
    """The newest batches, newest first."""
    found = with_client(lambda client: client.batches())
    if as_json or not sys.stdout.isatty():
        for batch in found:
            click.echo(msgspec.json.encode(batch))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "state", "done", "succeeded", "failed", "model")
    for batch in found:
        bad = batch.failed + batch.dead + batch.cancelled
        table.add_row(batch.id, batch.state, f"{batch.done}/{batch.total}", str(batch.succeeded), str(bad), batch.model)
    Console().print(table)


@batches.command(epilog="Example: headrace batches show batch_… --out results.jsonl")
@click.argument("batch_id")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write its results here.")
@click.option("--whole", is_flag=True, help="Write whole completions, in OpenAI's batch form.")
def show(batch_id: str, out: Path | None, whole: bool) -> None:
    """One batch, as JSON; with --out, its results."""

    async def body(client: AsyncHeadrace) -> int:
        batch = await client.batch(batch_id)
        click.echo(msgspec.json.format(msgspec.json.encode(batch), indent=2))
        if out is not None:
            await write_out(client, batch_id, out, whole=whole)
        return 1 if batch.ended and batch.succeeded < batch.total else 0

    sys.exit(with_client(body))


@batches.command("cancel", epilog="Example: headrace batches cancel batch_…")
@click.argument("batch_id")
def cancel_batch(batch_id: str) -> None:
    """Stop a batch. What was paid for is kept; the rest becomes error lines."""
    click.echo(with_client(lambda client: client.cancel(batch_id)))


@batches.command("retry", epilog="Example: headrace batches retry batch_… --out results.jsonl")
@click.argument("batch_id")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Wait for it and write its results here.")
@click.option("--whole", is_flag=True, help="Write whole completions, in OpenAI's batch form.")
def retry_batch(batch_id: str, out: Path | None, whole: bool) -> None:
    """A new batch that keeps what succeeded and pays only for the rest."""

    async def body(client: AsyncHeadrace) -> int:
        new = await client.retry(batch_id)
        if out is None:
            click.echo(new)
            return 0
        click.echo(f"{new} retries {batch_id}", err=True)
        return await follow(client, new, out, whole=whole)

    sys.exit(with_client(body))


@click.command(epilog="Example: headrace watch batch_… --out results.jsonl")
@click.argument("batch_id")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write its results here at the end.")
@click.option("--whole", is_flag=True, help="Write whole completions, in OpenAI's batch form.")
def watch(batch_id: str, out: Path | None, whole: bool) -> None:
    """Return to a batch and watch it to its end."""
    sys.exit(with_client(lambda client: follow(client, batch_id, out, whole=whole)))


async def follow(client: AsyncHeadrace, batch_id: str, out: Path | None, *, whole: bool) -> int:
    """Watch a batch to its end, write its results, return the exit code."""
    batch = await watch_batch(client, batch_id)
    if out is not None:
        await write_out(client, batch_id, out, whole=whole)
    if batch.succeeded < batch.total:
        click.echo(
            f"{batch.total - batch.succeeded} of {batch.total} items did not succeed"
            + (f"; see {errors_beside(out)}" if out else "")
            + f". Only those are paid again by: headrace batches retry {batch_id}",
            err=True,
        )
        return 1
    return 0


async def write_out(client: AsyncHeadrace, batch_id: str, out: Path, *, whole: bool) -> None:
    """Write the results to `out` and, when there are any, the errors beside it."""
    from headrace.client import write_results

    batch = await client.batch(batch_id)
    for which, path in (("output", out), ("errors", errors_beside(out))):
        lines = await client.output_lines(batch_id, which=which)
        count = await asyncio.to_thread(write_results, lines, path, structured=batch.structured, whole=whole)
        if which == "errors" and not count:
            path.unlink()


def errors_beside(out: Path) -> Path:
    """`results.errors.jsonl` of `results.jsonl`."""
    return out.with_name(f"{out.stem}.errors{out.suffix or '.jsonl'}")


def with_client(body: Callable[[AsyncHeadrace], Awaitable[T]]) -> T:
    """Run `body` with a connection to the service."""
    from headrace.client import AsyncHeadrace

    async def run() -> T:
        async with AsyncHeadrace() as client:
            return await body(client)

    return asyncio.run(run())
