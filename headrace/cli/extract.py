"""`headrace extract`: a file of items becomes rows of a schema."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import completions, terminal
from headrace.cli.input_options import input_options, readable_inputs
from headrace.cli.interrupt import Interrupted, interrupt_noted, interruptible, until_interrupted
from headrace.cli.out import checked_out, occupied, out_options
from headrace.cli.progress import detached
from headrace.errors import InputError
from headrace.spend.money import checked_budget, usd_text
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.batches.forecast import Forecast, Forecaster, SampledCall
    from headrace.batches.media.references import Blob
    from headrace.batches.template import Item, Template
    from headrace.client.async_client import AsyncHeadrace
    from headrace.jobs.cache_mode import CacheMode
    from headrace.jobs.job import Job

CACHE_MODES = ("on", "read", "write", "refresh", "off")


@click.command(
    epilog='Example: headrace extract reviews.csv --prompt "Extract from: {text}" --schema review.json '
    "--model openai/gpt-5-mini --out rows.csv"
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option(
    "--model",
    required=True,
    envvar="MODEL",
    help="provider/model, for example openai/gpt-5-mini, or an alias.",
    shell_complete=completions.models,
)
@click.option("--prompt", default="{text}", show_default=True, help="The user's message, with {field} places; @FILE.")
@click.option("--system", help="The system message; @FILE reads it from a file.")
@click.option(
    "--messages",
    metavar="FILE",
    help="A JSON file with a whole conversation, in place of the prompt.",
    shell_complete=completions.files,
)
@click.option(
    "--template", type=click.Choice(["jinja"]), help="Prompt, system message and conversation are templates of Jinja."
)
@click.option("--tools", help="A JSON file with a list of tools in OpenAI's shape.", shell_complete=completions.files)
@click.option("--tool-choice", help="auto, required, none, or a tool's name.")
@click.option("--schema", help="A JSON Schema file for the answers, or module:Type.", shell_complete=completions.files)
@click.option("--mode", help="How the schema is put to the model: strict, json_schema, json_object, tool_call, …")
@click.option("--reasks", type=click.IntRange(0, 5), default=0, help="Ask again up to N times for an answer that fits.")
@click.option("--lax", is_flag=True, help='Take values of the wrong type that can only mean one thing: "3" for 3.')
@out_options("Results, in input order: .jsonl, .csv, .tsv (also .gz, .zst) or .parquet. Errors beside.")
@click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help="A model option: temperature=0")
@click.option(
    "--cache",
    type=click.Choice(CACHE_MODES),
    help="How cached answers are used. [default: on; off where a temperature over 0 asks for samples]",
)
@click.option("--no-cache", is_flag=True, help="Pay for every item, and keep no answer: --cache off.")
@click.option("--variant", metavar="TEXT", help="Another sample: under each TEXT the items have answers of their own.")
@input_options
@click.option(
    "--weight", type=click.IntRange(1, 100), default=10, show_default=True, help="Its share beside other batches."
)
@click.option("--budget", metavar="USD", help="The most that it may cost; it pauses before it could cost more.")
@click.option(
    "--allow-unpriced", is_flag=True, help="With --budget: calls whose price is unknown pass, and count as nothing."
)
@click.option(
    "--economy", is_flag=True, help="Calls in the service tier flex: about half the price, and up to 15 minutes each."
)
@click.option(
    "--economy-fallback", is_flag=True, help="As --economy; calls that find no room there pay the standard price."
)
@click.option(
    "--dry-run", is_flag=True, help="Show the first prompt, the schema as it is sent and a forecast; pay nothing."
)
@click.option(
    "--calibrate", type=click.IntRange(2, 10_000), metavar="N", help="With --dry-run: try N items out, and pay them."
)
@click.option(
    "--new", is_flag=True, help="Open another batch, also where one over the same input is open or had failures."
)
@click.option("--detach", is_flag=True, help="Print the batch's id and return at once.")
def extract(
    inputs: tuple[str, ...],
    model: str,
    prompt: str,
    system: str | None,
    messages: str | None,
    template: str | None,
    tools: str | None,
    tool_choice: str | None,
    schema: str | None,
    mode: str | None,
    reasks: int,
    lax: bool,
    out: Path | None,
    whole: bool,
    excel: bool,
    force: bool,
    options: tuple[str, ...],
    cache: CacheMode | None,
    no_cache: bool,
    variant: str | None,
    weight: int,
    budget: str | None,
    allow_unpriced: bool,
    economy: bool,
    economy_fallback: bool,
    dry_run: bool,
    calibrate: int | None,
    new: bool,
    detach: bool,
    **reading: Any,
) -> None:
    """Turn the items of INPUT into one completion each, as one batch.

    INPUT is a file of JSON lines, a JSON array, CSV or TSV with a header row, Parquet or Arrow, each text also .gz and .zst;
    several of them, a pattern, a folder; a folder of text files, of images, sound or PDF files; or - for standard input.
    Everything is checked before anything is paid; the complaint names the line. Ctrl-C detaches: the batch goes on.

    The same command again joins a batch that is still open, and of one that ended with failures it pays only for those.
    """
    from headrace.batches.build import make_template
    from headrace.batches.inputs.reading import Reading
    from headrace.cli.batch_forecast import limits_here, limits_of_service, make_forecaster, tried
    from headrace.cli.batches import follow as follow_batch
    from headrace.cli.batches import print_rows
    from headrace.cli.params import given_file, given_messages, given_schema, given_text, given_tools, named
    from headrace.cli.same_work import earlier_batch, written_before
    from headrace.cli.service import connection, service
    from headrace.schema.modes import checked_mode

    if calibrate and not dry_run:
        raise InputError("--calibrate: only with --dry-run, for its forecast")
    names = (
        f"--prompt {prompt}" if given_file(prompt) else "--prompt",
        f"--system {system}" if given_file(system) else "--system",
        f"--messages {messages}",
    )
    others = (schema, messages, tools, given_file(prompt), given_file(system))
    prompt = given_text(prompt, "--prompt")
    system = None if system is None else given_text(system, "--system")
    talk = given_messages(messages)
    answer, name = given_schema(schema)
    words = parse_pairs(options) | {"mode": checked_mode(mode), "reasks": reasks, "lax": lax, "weight": weight}
    if no_cache and cache not in (None, "off"):
        raise InputError(f"--no-cache, --cache {cache}: they say different things; leave one of them out")
    words |= {"cache": "off" if no_cache else cache, "variant": variant}
    words |= {"tools": given_tools(tools), "tool_choice": tool_choice, "template": template, "names": names}
    told = {"prompt": prompt, "system": system, "messages": talk}
    nano = None if budget is None else checked_budget(budget, "--budget")
    words |= {"budget": None if nano is None else usd_text(nano), "allow_unpriced": allow_unpriced}
    words["economy"] = "fallback" if economy_fallback else economy
    with named(f"--schema {schema}"):
        shared, _ = make_template(model, schema=answer, schema_name=name, **told, **words)
    # What is there may be the results of this very work: that is known when the input has been read.
    is_again = out is not None and not (force or new or dry_run)
    checked_out(out, whole=whole, excel=excel, force=force or is_again, inputs=(*inputs, *others))
    is_again = is_again and out is not None and occupied(out)

    shown = "standard input" if inputs == ("-",) else inputs[0] if len(inputs) == 1 else "the input"
    opened: list[str] = []
    bounds = {name: reading[name] for name in ("limit", "encoding")}
    with before_it_is_opened(opened), readable_inputs(inputs, **bounds) as source:
        folder = "." if inputs == ("-",) else None
        placed: Any = {"shown": shown, "folder": folder, "reads_again": not dry_run}
        rows = Reading(source, shared, language=template, names=names, **placed, **told, **reading)
        checked_out(out, whole=whole, excel=excel, force=force or is_again, inputs=rows.inputs())

        async def run() -> int:
            async with service(provider=rows.template.model) as url, connection(url) as client:
                written = None
                if is_again and out is not None:
                    written = await written_before(client, counts.work, out, whole=whole, excel=excel)
                if written is not None and written.is_all:
                    terminal.echo(
                        f"{out} has the results of {written.batch_id} already: nothing is left to do (--new --force asks again)",
                        err=True,
                    )
                    if detach:
                        terminal.echo(written.batch_id)
                    return 0
                with interrupt_noted() as interrupted:
                    batch_id = None if written is None else written.complete
                    if batch_id is None and not new:
                        batch_id = await earlier_batch(client, rows.template, counts.work)
                    if batch_id is None:
                        # Looked at between items: the batch is opened whole, or nothing is there.
                        batch_id = await client.open(
                            rows.template, until_set(interrupted, rows.items()), work=counts.work, joins=not new
                        )
                    opened.append(batch_id)
                if interrupted.is_set():
                    detached(batch_id)
                if detach:
                    if out is not None:
                        terminal.echo(f"its results: headrace watch {batch_id} --out {out}", err=True)
                    terminal.echo(batch_id)
                    return 0
                terminal.echo(f"{batch_id}: return to it with `headrace watch {batch_id}`", err=True)
                try:
                    return await until_interrupted(to_its_end(client, batch_id, overwrite=force or written is not None))
                except Interrupted:
                    detached(batch_id)

        async def to_its_end(client: AsyncHeadrace, batch_id: str, *, overwrite: bool) -> int:
            code = await follow_batch(
                client, batch_id, out, whole=whole, excel=excel, overwrite=overwrite, schema=answer, word=schema
            )
            return code if out is not None else await print_rows(client, batch_id, whole=whole)

        async def tried_here() -> list[SampledCall]:
            assert forecaster is not None
            async with service(provider=rows.template.model) as url, connection(url) as client:
                return await until_interrupted(tried(client, rows.template, forecaster))

        # Read once to the end before a service is started for it: most mistakes are in the input.
        forecaster = make_forecaster(rows.template, calibrate or 0) if dry_run else None
        counts = Counts(rows.template, forecaster)
        for item in rows.items():
            counts.add(item, rows.template)
        complaints = rows.complaints
        if complaints.skipped:
            terminal.echo(
                f"{complaints.skipped} items skipped: a field that the prompt names is null or empty", err=True
            )
        if complaints.bad:
            is_one = complaints.bad == 1
            done = ("became an error line" if is_one else "became error lines", "was skipped" if is_one else "skipped")
            rows_of = "1 row that" if is_one else f"{complaints.bad} rows that"
            terminal.echo(
                f"{rows_of} cannot be used {done[complaints.on_bad_row == 'skip']}; the first: {complaints.first_bad}",
                err=True,
            )
        if forecaster is not None:
            calls = interruptible(tried_here()) if calibrate else []
            model = rows.template.model
            limits = [*limits_here(model), *asyncio.run(limits_of_service(model))]
            counts.show(rows.template, forecaster.forecast(calls, limits))
            return
        sys.exit(interruptible(run()))


@contextmanager
def before_it_is_opened(opened: list[str]) -> Iterator[None]:
    """Say what an interrupt means: as long as no batch is `opened`, that there is none. A second one, while what the first one
    ended is being closed, says nothing more."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        if not opened:
            terminal.echo("\ninterrupted before the batch was opened: nothing was enqueued or paid", err=True)
        raise click.Abort from None


def until_set(interrupted: asyncio.Event, items: Iterator[Item | Blob]) -> Iterator[Item | Blob]:
    for item in items:
        if interrupted.is_set():
            raise Interrupted
        yield item


class Counts:
    """A digest of the items and of what is asked of them, and with a `forecaster` what they will take."""

    def __init__(self, template: Template, forecaster: Forecaster | None = None) -> None:
        import msgspec

        unlimited = msgspec.structs.replace(template, budget=0, unpriced=False)  # its budget may be raised
        self._digest = blake2b(unlimited.encoded()[0].encode(), digest_size=16)
        self._forecaster = forecaster
        self.first: Job | None = None

    def add(self, item: Item | Blob, template: Template) -> None:
        import msgspec

        from headrace.batches.template import Item

        if not isinstance(item, Item):  # a blob, to which an item refers by its hash
            if self._forecaster is not None and self._forecaster.sample:
                raise InputError("--sample: items with images, sound or files are not tried out; leave it out")
            return
        self._digest.update(msgspec.json.encode(item) + b"\n")
        if self._forecaster is not None:
            self._forecaster.add(item)
        if item.refused is None and self.first is None:
            self.first = template.job(item)

    @property
    def work(self) -> str:
        return self._digest.hexdigest()

    def show(self, template: Template, forecast: Forecast) -> None:
        """Print the first conversation, the schema as it is sent and the forecast, as JSON for a pipe and as text for people."""
        import msgspec

        from headrace.chat.provider_table import PROVIDERS
        from headrace.cli.batch_forecast import facts_of, words_of
        from headrace.schema.modes import form_of

        provider = PROVIDERS.get(template.model.partition("/")[0])
        target = provider.dialect if provider else "openai"
        form = form_of(template.schema, template.mode or "strict", target) if template.schema is not None else None
        first = self.first.messages if self.first else []
        facts = {
            "model": template.model,
            "items": forecast.items,
            "input_tokens_estimated": forecast.input_tokens.expected,
            "forecast": facts_of(forecast),
            "first_messages": first,
            "schema": form and form.schema,
            "mode": form and form.mode,
        }
        if not terminal.is_terminal():
            terminal.echo(msgspec.json.encode(facts))
            return
        terminal.echo(f"The first item's messages for {template.model}:")
        for message in first:
            terminal.echo(f"\n[{message['role']}]\n{message.get('content', '')}")
        if form is not None:
            terminal.echo(f"\nThe schema as it is sent (mode {form.mode}):")
            terminal.echo(msgspec.json.format(msgspec.json.encode(form.schema), indent=2))
        terminal.echo("")
        for line in words_of(forecast):
            terminal.echo(line)
        terminal.echo(
            "Nothing was sent (--dry-run)." if not forecast.sampled else f"{forecast.sampled} items were sent."
        )


def parse_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parse `name=value` words to a dict; a value that is JSON is taken as JSON, anything else as text."""
    import msgspec

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--option {quoted(pair)}: write NAME=VALUE")
        try:
            values[name] = msgspec.json.decode(value.encode())
        except UnicodeEncodeError:
            raise InputError(f"--option {quoted(pair)}: no UTF-8") from None
        except msgspec.DecodeError:
            values[name] = value
    return values
