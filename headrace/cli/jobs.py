"""`headrace jobs …`: what there is, how it stands, its answer, how to stop it."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headrace.handles import AsyncJobHandle
    from headrace.job import Completion


@click.group(epilog="Example: headrace jobs list")
def jobs() -> None:
    """List, show, fetch and cancel single jobs."""


@jobs.command("list", epilog="Example: headrace jobs list --limit 20")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_jobs(limit: int, as_json: bool) -> None:
    """The newest jobs of the last 8 days, newest first."""
    from headrace.cli.batches import with_client
    from headrace.cli.table import show

    found = with_client(lambda client: client.jobs(limit=limit))
    show(found, ("id", "state", "code", "attempts", "created", "took"), row_of, as_json=as_json)


def row_of(job: Any) -> tuple[str, ...]:
    from headrace.cli.table import took, when

    return job.id, job.state, job.code, str(job.attempts), when(job.created_ms), took(job.created_ms, job.ended_ms)


@jobs.command("show", epilog="Example: headrace jobs show job_…")
@click.argument("job_id")
def show_job(job_id: str) -> None:
    """One job's state, as JSON."""
    import msgspec

    from headrace import summaries
    from headrace.cli.batches import with_client
    from headrace.handles import checked_id

    checked_id(job_id, "job")
    found = with_client(lambda client: summaries.job(client.ledger, job_id))
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))


@jobs.command("result", epilog="Example: headrace jobs result job_… --timeout 60")
@click.argument("job_id")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait for its end. [default: until it ends]")
@click.option("--json", "as_json", is_flag=True, help="The whole completion, as JSON.")
def result(job_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait for a job's end and print its answer. Ctrl-C leaves the job alone."""
    from headrace.cli.batches import with_client

    print_answer(with_client(lambda client: client.job(job_id).completion(timeout)), as_json=as_json)


@jobs.command("cancel", epilog="Example: headrace jobs cancel job_…")
@click.argument("job_id")
def cancel_job(job_id: str) -> None:
    """Stop a job; a call in flight is closed at once."""
    from headrace.cli.batches import with_client

    click.echo(with_client(lambda client: client.job(job_id).cancel()))


def print_answer(completion: Completion, *, as_json: bool) -> None:
    """The answer's text, or its value as JSON where a schema was asked for; `as_json` prints everything."""
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(completion))
    elif completion.value is not None:
        encoded = msgspec.json.encode(completion.value)
        click.echo(msgspec.json.format(encoded, indent=2) if sys.stdout.isatty() else encoded)
    else:
        click.echo(completion.content or "")


async def until_interrupted(job: AsyncJobHandle[Any]) -> Completion:
    """The job's completion. Ctrl-C cancels the job: whoever waits at a prompt does not want to pay for it any more."""
    from headrace.errors import HeadraceError

    # A handler of our own: a cancellation (what `asyncio.run` makes of Ctrl-C) can get lost inside a client's read.
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    waiting, ending = asyncio.create_task(job.completion()), asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        ending.cancel()
    if not waiting.done():
        waiting.cancel()
        with suppress(HeadraceError):
            await job.cancel()
        click.echo(f"\n{job.id} cancelled", err=True)
        raise click.Abort
    return waiting.result()
