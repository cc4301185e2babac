"""`headrace run`: one prompt, one answer."""

from __future__ import annotations

import asyncio
import sys

import click


@click.command(epilog='Example: headrace run "Why is the sky blue?" --model openai/gpt-5-mini')
@click.argument("prompt")
@click.option("--model", required=True, envvar="MODEL", help="provider/model, for example openai/gpt-5-mini.")
@click.option("--system", help="The system message.")
@click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help="A model option: temperature=0")
@click.option("--json", "as_json", is_flag=True, help="The whole completion, as JSON.")
def run(prompt: str, model: str, system: str | None, options: tuple[str, ...], as_json: bool) -> None:
    """Put PROMPT to a model as one job and print the answer. `-` reads the prompt from standard input."""
    import msgspec

    from headrace.cli.extract import parse_pairs
    from headrace.cli.service import service
    from headrace.client import AsyncHeadrace
    from headrace.errors import InputError
    from headrace.facts import split_model
    from headrace.job import Job
    from headrace.options import parse_options

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise InputError("the prompt is empty")
    if "/" not in model:
        split_model(model)
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    job = Job(model=model, messages=messages, options=parse_options(parse_pairs(options)))

    async def body() -> int:
        async with service(provider=model) as url, AsyncHeadrace(url=url) as client:
            job_id = await client.submit(job)
            outcome = await client.outcome(job_id)
        if outcome.completion is None:
            failure = outcome.error
            click.echo(f"{job_id}: {failure.code if failure else '?'}: {failure.message if failure else ''}", err=True)
            return 1
        if as_json:
            click.echo(msgspec.json.encode(outcome.completion))
        else:
            click.echo(outcome.completion.content or "")
        return 0

    sys.exit(asyncio.run(body()))
