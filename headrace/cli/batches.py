"""`headrace batches …` and `headrace watch`: what there is, how it goes, how to stop or to repeat it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headrace.cli import completions, terminal
from headrace.cli.interrupt import Interrupted, until_interrupted
from headrace.cli.out import (
    allow_replacing,
    checked_out,
    occupied,
    out_options,
    remember_batch,
    to_compare,
)
from headrace.cli.progress import detached, watch_batch
from headrace.cli.service import with_client
from headrace.cli.table import show as show_table
from headrace.cli.table import when
from headrace.errors import HeadraceError, InputError, StorageError, Unknown
from headrace.spend.money import checked_budget, nano_of_float, usd_text
from headrace.waiting import stop

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace
    from headrace.ledger.summaries import Batch

MAX_RETRIES_BACK = 8
"""Batches, each a retry of the next, whose results are known again."""


@click.group(epilog="Example: headrace batches list")
def batches() -> None:
    """List, show, check, cancel, resume and retry batches."""


@batches.command("list", epilog="Example: headrace batches list --json")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_batches(limit: int, as_json: bool) -> None:
    """List the newest batches, newest first."""
    found = with_client(lambda client: client.batches(limit=limit))
    show_table(found, ("batch", "state", "done", "succeeded", "failed", "model", "created"), row_of, as_json=as_json)


def row_of(batch: Batch) -> tuple[str, ...]:
    bad = batch.failed + batch.dead + batch.cancelled
    done = f"{batch.done}/{batch.total}"
    return batch.id, batch.state, done, str(batch.succeeded), str(bad), batch.model, when(batch.created_ms)


@batches.command(epilog="Example: headrace batches show batch_… --out results.jsonl")
@click.argument("batch_id", shell_complete=completions.batch_ids)
@out_options("Write its results here.")
def show(batch_id: str, out: Path | None, whole: bool, excel: bool, force: bool) -> None:
    """Show one batch, as JSON; with --out, write its results."""

    checked_out(out, whole=whole, excel=excel, force=force or out is not None)

    async def body(client: AsyncHeadrace) -> int:
        overwrite = await may_replace(client, batch_id, out, whole=whole, excel=excel, force=force)
        batch = await client.batch(batch_id).progress()
        terminal.echo(msgspec.json.format(msgspec.json.encode(batch), indent=2))
        if out is not None:
            await client.batch(batch_id).save(out, whole=whole, excel=excel, overwrite=overwrite)
        return 1 if batch.ended and (batch.succeeded < batch.total or not batch.total) else 0

    sys.exit(with_client(body))


@batches.command("cancel", epilog="Example: headrace batches cancel batch_…")
@click.argument("batch_id", shell_complete=completions.batch_ids)
def cancel_batch(batch_id: str) -> None:
    """Stop a batch. What was paid for is kept; the rest becomes error lines."""
    terminal.echo(with_client(lambda client: client.batch(batch_id).cancel()))


@batches.command("resume", epilog="Example: headrace batches resume batch_…")
@click.argument("batch_id", shell_complete=completions.batch_ids)
def resume_batch(batch_id: str) -> None:
    """Let a paused batch go on, once what paused it is put right (`show` says what)."""
    terminal.echo(with_client(lambda client: client.batch(batch_id).resume()))


@batches.command("budget", epilog="Example: headrace batches budget batch_… 10.00")
@click.argument("batch_id")
@click.argument("usd", metavar="USD")
@click.option("--allow-unpriced/--refuse-unpriced", default=None, help="Whether calls without a known price may pass.")
def set_budget(batch_id: str, usd: str, allow_unpriced: bool | None) -> None:
    """Set what a batch may cost, in US dollars, or `none`. What it has cost counts; paused by its budget, it goes on."""
    nano = None if usd == "none" else checked_budget(usd, "USD")
    budget = None if nano is None else usd_text(nano)
    terminal.echo(with_client(lambda client: client.set_budget(batch_id, budget, allow_unpriced=allow_unpriced)))


@batches.command("retry", epilog="Example: headrace batches retry batch_… --out results.jsonl")
@click.argument("batch_id", shell_complete=completions.batch_ids)
@out_options("Wait for it and write its results here.")
@click.option(
    "--code",
    "codes",
    multiple=True,
    help="Only what failed with this code, for example invalid_output. Again for more of them.",
)
def retry_batch(batch_id: str, out: Path | None, whole: bool, excel: bool, force: bool, codes: tuple[str, ...]) -> None:
    """Open a batch that keeps what succeeded and pays only the rest.

    With --code it runs only what failed with that code, and keeps the other failures as they are. The codes of a batch, and
    how many items have each: headrace batches show ID.
    """

    checked_out(out, whole=whole, excel=excel, force=force or out is not None)

    async def body(client: AsyncHeadrace) -> int:
        overwrite = await may_replace(client, batch_id, out, whole=whole, excel=excel, force=force)
        new = await client.retry(batch_id, codes=codes or None)
        if out is None:
            terminal.echo(new)
            return 0
        terminal.echo(f"{new} retries {batch_id}", err=True)
        return await follow(client, new, out, whole=whole, excel=excel, overwrite=overwrite)

    sys.exit(with_client(body))


@click.command(epilog="Example: headrace watch batch_… --out results.jsonl")
@click.argument("id", shell_complete=completions.subject_ids)
@out_options("Write a batch's results here at the end.")
@click.option("--json", "as_json", is_flag=True, help="Every event of a job, as a line of JSON.")
def watch(id: str, out: Path | None, whole: bool, excel: bool, force: bool, as_json: bool) -> None:
    """Return to a job or a batch and watch it to its end: a job's answer is printed as it comes."""
    if not id.startswith("job_"):
        checked_out(out, whole=whole, excel=excel, force=force or out is not None)
        sys.exit(with_client(lambda client: follow_into(client, id, out, whole=whole, excel=excel, force=force)))
    if out is not None or whole or excel or force:
        raise InputError("--out, --whole, --excel and --force are for batches; a job's answer goes to standard output")
    with_client(lambda client: follow_job(client, id, as_json=as_json))


async def follow_job(client: AsyncHeadrace, job_id: str, *, as_json: bool) -> None:
    from headrace.cli.stream import show_stream

    try:
        await until_interrupted(show_stream(client.job(job_id), as_json=as_json))
    except Interrupted:
        terminal.echo(f"\ndetached; the job goes on. Come back to it: headrace watch {job_id}", err=True)
        raise click.Abort from None


@batches.command("results", epilog="Example: headrace batches results batch_… > rows.jsonl")
@click.argument("batch_id", shell_complete=completions.batch_ids)
@click.option("--whole", is_flag=True, help="Whole completions, in OpenAI's batch form.")
def results(batch_id: str, whole: bool) -> None:
    """Print a batch's rows as JSON lines, in input order, each as soon as all before it are there."""

    async def body(client: AsyncHeadrace) -> int:
        try:
            return await until_interrupted(print_rows(client, batch_id, whole=whole))
        except Interrupted:
            terminal.echo(f"stopped; the batch is as it was. Again: headrace batches results {batch_id}", err=True)
            raise click.Abort from None

    sys.exit(with_client(body))


async def print_rows(client: AsyncHeadrace, batch_id: str, *, whole: bool) -> int:
    """Print every row; returns 1 when some did not succeed."""
    from headrace.batches.outputs.output_lines import parse, simple

    batch = client.batch(batch_id)
    structured = (await batch.progress()).structured
    bad = False
    async for page in batch.line_pages():
        for line in page:
            row = simple(line, structured=structured)
            bad = bad or (b'"error":' in row and parse(line).response is None)
            terminal.echo(line if whole else row)
    return int(bad)


@batches.command("check", epilog="Example: headrace batches check batch_… --schema reviews:Review --out results.jsonl")
@click.argument("batch_id", shell_complete=completions.batch_ids)
@click.option("--schema", required=True, help="The type that the answers are to be: module:Type.")
@out_options("Write its results here.")
def check(batch_id: str, schema: str, out: Path | None, whole: bool, excel: bool, force: bool) -> None:
    """Read a batch's answers as a Python type, which may refuse what the schema allows.

    What it refuses counts as failed (invalid_output) from then on, and is asked for again as often as --reasks of the extraction
    said. `extract --schema module:Type` does all this by itself; here it is done later, for a batch that was detached.
    """
    from headrace.cli.params import given_schema

    given, _ = given_schema(schema)
    if isinstance(given, dict):
        raise InputError(f"--schema {schema}: give a type, as module:Type; by a schema every answer was checked before")
    checked_out(out, whole=whole, excel=excel, force=force or out is not None)
    sys.exit(
        with_client(
            lambda client: follow_into(
                client, batch_id, out, whole=whole, excel=excel, force=force, schema=given, word=schema
            )
        )
    )


async def may_replace(
    client: AsyncHeadrace, batch_id: str, out: Path | None, *, whole: bool, excel: bool, force: bool
) -> bool:
    """Return True if results may replace what is at `out`: with `force`, and when it holds those of this batch, or of one that it
    retries, untouched. Raises `InputError` for anything else that is there, before there is anything to wait or to pay for."""
    remember_batch(out, batch_id)
    if out is None or force:
        return force
    return await writer_of(client, batch_id, out, whole=whole, excel=excel) is not None


async def writer_of(client: AsyncHeadrace, batch_id: str, out: Path, *, whole: bool, excel: bool) -> str | None:
    """Return the batch whose results are at `out`, untouched: this one, or one that it retries; None where nothing is there.
    Raises `InputError` for anything else."""
    if not await asyncio.to_thread(occupied, out):
        return None
    there = await asyncio.to_thread(to_compare, out)
    earlier = batch_id
    for _ in range(MAX_RETRIES_BACK):
        try:
            if await client.batch(earlier).wrote(there, whole=whole, excel=excel):
                allow_replacing(out)
                return earlier
            earlier = (await client.batch(earlier).progress()).retry_of
        except (Unknown, StorageError):  # past its retention
            if earlier == batch_id:
                raise
            break
        if not earlier:
            break
    try:
        await asyncio.to_thread(checked_out, out, whole=whole, excel=excel, force=False)
    except InputError as error:
        raise InputError(f"{error} (it does not hold the results of {batch_id})") from None
    return None


async def follow_into(
    client: AsyncHeadrace,
    batch_id: str,
    out: Path | None,
    *,
    whole: bool,
    excel: bool,
    force: bool,
    schema: Any = None,
    word: str | None = None,
) -> int:
    """Run `follow` once it is known that its results may go to `out`."""
    overwrite = await may_replace(client, batch_id, out, whole=whole, excel=excel, force=force)
    return await follow(client, batch_id, out, whole=whole, excel=excel, overwrite=overwrite, schema=schema, word=word)


async def follow(
    client: AsyncHeadrace,
    batch_id: str,
    out: Path | None,
    *,
    whole: bool,
    excel: bool = False,
    overwrite: bool = False,
    schema: Any = None,
    word: str | None = None,
) -> int:
    """Watch a batch to its end, read its rows as the type `schema` (named by `word`), write its results, return the exit
    code."""
    from headrace.client.checking import check_structured, has_type
    from headrace.schema.python_types import answer_type

    opened: asyncio.Queue[str] = asyncio.Queue()

    def asked_again(new: str, count: int) -> None:
        what = "1 answer that the type refuses is" if count == 1 else f"{count} answers that the type refuses are"
        terminal.echo(f"{what} asked for again: {new}", err=True)
        opened.put_nowait(new)

    remember_batch(out, batch_id)
    wanted = answer_type(schema)
    check_structured(batch_id, wanted, structured=(await client.batch(batch_id).progress()).structured)
    back = f"headrace batches check {batch_id} --schema {word}" if has_type(wanted) else None
    checking = asyncio.create_task(client.batch(batch_id, schema=schema).check(on_reask=asked_again))
    try:
        batch = await watch_batch(client, batch_id, back)
        while (new := await until_interrupted(first_of(opened, checking))) is not None:
            await watch_batch(client, new, back)
        await checking
        batch = await client.batch(batch_id).progress()
    except Interrupted:
        detached(batch_id, back)
    finally:
        await stop(checking)
        if not checking.cancelled():
            checking.exception()  # when watching ended with another one, nobody else asks for it
    errors = None
    try:
        if out is not None:
            saving = client.batch(batch_id).save(out, whole=whole, excel=excel, overwrite=overwrite)
            errors = await until_interrupted(saving)
    except (InputError, OSError) as error:
        why = f"{out}: {error.strerror}" if isinstance(error, OSError) else error
        raise HeadraceError(f"--out {why}. Write the results: headrace batches show {batch_id} --out NAME") from None
    except Interrupted:
        terminal.echo(f"{out} was not written. Write it: headrace batches show {batch_id} --out {out}", err=True)
        raise click.Abort from None
    told = f"{again(batch)}{saved(batch)}{cost(batch)}"
    if batch.succeeded < batch.total:
        terminal.echo(
            f"{batch.total - batch.succeeded} of {batch.total} items did not succeed{by_code(batch)}{told}"
            + (f"; see {errors}" if errors else "")
            + f". Only those are paid again by: headrace batches retry {batch_id}",
            err=True,
        )
        return 1
    if not batch.total:  # its input was rejected, or it was cancelled before that was checked
        terminal.echo(f"{batch_id} has {batch.state} before any item ran: {batch.reason}", err=True)
        return 1
    if batch.retried or batch.cached or batch.cost_usd:
        terminal.echo(f"all {batch.total} items succeeded{told}", err=True)
    return 0


async def first_of(opened: asyncio.Queue[str], checking: asyncio.Task[None]) -> str | None:
    """Return the next of `opened`; None when `checking` has ended and there is none."""
    getting = asyncio.create_task(opened.get())
    try:
        await asyncio.wait({getting, checking}, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()


def by_code(batch: Batch) -> str:
    """Return what did not succeed, by the code of its failure: ` (3 invalid_output, 1 timeout)`."""
    return f" ({', '.join(f'{count} {code}' for code, count in batch.codes.items())})" if batch.codes else ""


def again(batch: Batch) -> str:
    calls = "1 call was" if batch.retried == 1 else f"{batch.retried} calls were"
    return f", {calls} made again after a failure" if batch.retried else ""


def saved(batch: Batch) -> str:
    calls = "1 answer was" if batch.cached == 1 else f"{batch.cached} answers were"
    worth = f" (saved {usd_text(nano_of_float(batch.saved_usd))} USD)" if batch.saved_usd else ""
    return f", {calls} known already and cost nothing{worth}" if batch.cached else ""


def cost(batch: Batch) -> str:
    """Return what it has cost: `, cost 0.12 USD`; nothing where no call has a known price."""
    words = f", cost {usd_text(nano_of_float(batch.cost_usd))} USD" if batch.cost_usd else ""
    if batch.unaccounted_calls:
        known = f"{usd_text(nano_of_float(batch.unaccounted_usd))} USD at most"
        at_most = known if batch.unaccounted_usd else "an unknown amount"
        words += f", and {at_most} for {batch.unaccounted_calls} calls whose usage never arrived"
    return words
