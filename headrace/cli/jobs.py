"""`headrace jobs …`: what there is, how it stands, its answer, how to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.cli import completions, terminal
from headrace.cli.interrupt import Interrupted, until_interrupted
from headrace.cli.service import with_client
from headrace.ledger.state import JobState

if TYPE_CHECKING:
    from headrace.chat.completion import Completion
    from headrace.client.async_client import AsyncHeadrace


@click.group(epilog="Example: headrace jobs list")
def jobs() -> None:
    """List, show, fetch, cancel and retry single jobs."""


@jobs.command("list", epilog="Example: headrace jobs list --state dead --state failed")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in JobState]),
    multiple=True,
    help="Only these; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_jobs(limit: int, states: tuple[str, ...], as_json: bool) -> None:
    """List the newest jobs of the last 8 days, newest first."""
    from headrace.cli.table import show

    found = with_client(lambda client: client.jobs(limit=limit, states=states))
    show(found, ("id", "state", "code", "attempts", "created", "took"), row_of, as_json=as_json)


def row_of(job: Any) -> tuple[str, ...]:
    from headrace.cli.table import took, when

    return job.id, job.state, job.code, str(job.attempts), when(job.created_ms), took(job.created_ms, job.ended_ms)


@jobs.command("show", epilog="Example: headrace jobs show job_…")
@click.argument("job_id", shell_complete=completions.job_ids)
def show_job(job_id: str) -> None:
    """Show one job's state, as JSON."""
    import msgspec

    from headrace.client.handles import checked_id

    checked_id(job_id, "job")
    found = with_client(lambda client: client.backend.job(job_id))
    terminal.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))


@jobs.command("result", epilog="Example: headrace jobs result job_… --timeout 60")
@click.argument("job_id", shell_complete=completions.job_ids)
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait for its end. [default: until it ends]")
@click.option("--json", "as_json", is_flag=True, help="The whole completion, as JSON.")
def result(job_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait for a job's end and print its answer. Ctrl-C leaves the job alone."""

    async def body(client: AsyncHeadrace) -> Completion:
        try:
            return await until_interrupted(client.job(job_id).completion(timeout))
        except Interrupted:
            terminal.echo(f"the job goes on. Come back to it: headrace jobs result {job_id}", err=True)
            raise click.Abort from None

    print_answer(with_client(body), as_json=as_json)


@jobs.command("cancel", epilog="Example: headrace jobs cancel job_…")
@click.argument("job_id", shell_complete=completions.job_ids)
def cancel_job(job_id: str) -> None:
    """Stop a job; a call in flight is closed at once."""
    terminal.echo(with_client(lambda client: client.job(job_id).cancel()))


@jobs.command("retry", epilog="Example: headrace jobs retry job_… job_…")
@click.argument("job_ids", nargs=-1, required=True, shell_complete=completions.job_ids)
def retry_jobs(job_ids: tuple[str, ...]) -> None:
    """Submit jobs again that failed, died or were cancelled; prints the ids of the new ones.

    What a job asked is kept as long as its result (`ttl_s`, an hour by default).
    """

    async def body(client: AsyncHeadrace) -> None:
        for job_id in job_ids:
            terminal.echo(await client.retry_job(job_id))

    with_client(body)


def print_answer(completion: Completion, *, as_json: bool) -> None:
    """Print the answer's text, its value as JSON where a schema was requested, or the tool calls as JSON lines;
    `as_json` prints everything."""
    import msgspec

    from headrace.batches.outputs.results import text_of
    from headrace.text.digits import as_written

    if as_json:
        terminal.echo(msgspec.json.encode(completion))
    elif completion.tool_calls:
        if completion.content:
            terminal.echo(completion.content)
        for call in completion.tool_calls:
            terminal.echo(msgspec.json.encode(call))
    elif completion.value is not None:
        encoded = msgspec.json.encode(as_written(completion.value, completion.content))
        terminal.echo(msgspec.json.format(encoded, indent=2) if terminal.is_terminal() else encoded)
    else:
        terminal.echo(text_of(completion))
