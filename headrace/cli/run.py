"""`headrace run`: one prompt, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headrace.cli import completions, terminal

if TYPE_CHECKING:
    from headrace.client.handles import AsyncJobHandle


@click.command(epilog='Example: headrace run "Why is the sky blue?" --model openai/gpt-5-mini')
@click.argument("prompt")
@click.option(
    "--model",
    required=True,
    envvar="MODEL",
    help="provider/model, for example openai/gpt-5-mini, or an alias.",
    shell_complete=completions.models,
)
@click.option("--system", help="The system message.")
@click.option("--schema", help="A JSON Schema file for the answer, or module:Type.", shell_complete=completions.files)
@click.option("--mode", help="How the schema is put to the model: strict, json_schema, json_object, tool_call, …")
@click.option("--reasks", type=click.IntRange(0, 5), default=0, help="Ask again up to N times for an answer that fits.")
@click.option("--lax", is_flag=True, help='Take values of the wrong type that can only mean one thing: "3" for 3.')
@click.option("--tools", help="A JSON file with a list of tools in OpenAI's shape.", shell_complete=completions.files)
@click.option("--tool-choice", help="auto, required, none, or a tool's name.")
@click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help="A model option: temperature=0")
@click.option("--key", "idempotency_key", help="The same call under the same key within 24 h is the same job.")
@click.option("--cache", is_flag=True, help="An answer to the same question that was paid for already will do.")
@click.option(
    "--variant", metavar="TEXT", help="With --cache, another sample: under each TEXT there is an answer of its own."
)
@click.option("--timeout", "timeout_s", type=float, help="Seconds it may take, waits included (24 h); then it fails.")
@click.option("--json", "as_json", is_flag=True, help="The whole completion, as JSON.")
@click.option("--stream", is_flag=True, help="Print the answer as it comes; with --json, every event as a line.")
@click.option("--detach", is_flag=True, help="Print the job's id and return at once.")
def run(
    prompt: str,
    model: str,
    system: str | None,
    schema: str | None,
    mode: str | None,
    reasks: int,
    lax: bool,
    tools: str | None,
    tool_choice: str | None,
    options: tuple[str, ...],
    idempotency_key: str | None,
    cache: bool,
    variant: str | None,
    timeout_s: float | None,
    as_json: bool,
    stream: bool,
    detach: bool,
) -> None:
    """Put PROMPT to a model as one job and print the answer. `-` reads the prompt from standard input.

    With a schema the answer is printed as JSON, and so are the calls of a model that calls tools. Ctrl-C cancels the job.
    """
    from headrace.batches.outputs.results import value_of
    from headrace.cli.extract import parse_pairs
    from headrace.cli.interrupt import Interrupted, interruptible, until_interrupted
    from headrace.cli.jobs import print_answer
    from headrace.cli.params import given_schema, given_tools, named
    from headrace.cli.service import connection, service
    from headrace.cli.stream import show_stream
    from headrace.client.handles import AsyncJobHandle
    from headrace.errors import InputError
    from headrace.guards.small_files import read_stream
    from headrace.jobs.build import checked_key, make_job, timeout_ms, ttl_ms
    from headrace.jobs.job import new_id
    from headrace.schema.modes import checked_mode

    text = prompt
    if prompt == "-":
        try:
            text = read_stream(sys.stdin.buffer, "standard input").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input: not UTF-8 (byte {error.start + 1}); the prompt is a text") from None
    if not text.strip():
        raise InputError("the prompt is empty")
    answer, _ = given_schema(schema)
    words = parse_pairs(options) | {"tools": given_tools(tools), "tool_choice": tool_choice, "stream": stream}
    words |= {"mode": checked_mode(mode), "reasks": reasks, "lax": lax, "cache": cache, "variant": variant}
    timeout = timeout_ms(timeout_s)
    with named(f"--schema {schema}"):
        asked, answers = make_job(model, text, schema=answer, system=system, **words)

    async def body() -> int:
        async with service(provider=asked.model) as url, connection(url) as client:
            job_id = new_id("job")
            submitting = client.backend.submit_job(
                asked,
                ttl_ms=ttl_ms(None),
                timeout_ms=timeout,
                idempotency_key=checked_key(idempotency_key),
                job_id=job_id,
            )
            try:
                job_id = await until_interrupted(submitting)
                if detach:
                    terminal.echo(job_id)
                    return 0
                job = AsyncJobHandle(client, job_id, answers)
                if stream:
                    await until_interrupted(show_stream(job, as_json=as_json))
                completion = await until_interrupted(job.completion())
            except OSError as error:
                if not isinstance(error, BrokenPipeError):  # who closes the pipe knows
                    terminal.echo(f"the answer cannot be written; the job goes on: headrace watch {job_id}", err=True)
                raise
            except Interrupted:  # whoever waits at a prompt does not want to pay for it any more
                try:
                    became = await until_interrupted(cancelled(client.job(job_id)))
                except Interrupted:  # pressed again
                    became = f"{job_id} may not be cancelled. Cancel it: headrace jobs cancel {job_id}"
                terminal.echo(f"\n{became}", err=True)
                raise click.Abort from None
            value_of(job_id, completion, answers)  # a type may refuse what its schema allows
            if not stream:
                print_answer(completion, as_json=as_json)
        return 0

    sys.exit(interruptible(body()))


async def cancelled(job: AsyncJobHandle[object]) -> str:
    """Return what became of the job that was to be cancelled, as a sentence."""
    from headrace.errors import HeadraceError, Unknown

    try:
        await job.cancel()
    except Unknown:
        return "interrupted before the job was enqueued: nothing was paid"
    except HeadraceError as error:
        return f"{job.id} could not be cancelled ({error}). Cancel it: headrace jobs cancel {job.id}"
    return f"{job.id} cancelled"
