"""`headrace extract`: a file of items becomes rows of a schema."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click


@click.command(
    epilog='Example: headrace extract reviews.jsonl --prompt "Extract from: {text}" --schema review.json '
    "--model openai/gpt-5-mini --out rows.jsonl"
)
@click.argument("input", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", required=True, envvar="MODEL", help="provider/model, for example openai/gpt-5-mini.")
@click.option("--prompt", default="{text}", show_default=True, help="The user's message, with {field} places.")
@click.option("--system", help="The system message.")
@click.option("--schema", type=click.Path(path_type=Path, dir_okay=False), help="A JSON Schema file for the answers.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Results, in input order. Errors go beside it."
)
@click.option("--whole", is_flag=True, help="Write whole completions, in OpenAI's batch form.")
@click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help="A model option: temperature=0")
@click.option("--detach", is_flag=True, help="Print the batch's id and return at once.")
def extract(
    input: Path,
    model: str,
    prompt: str,
    system: str | None,
    schema: Path | None,
    out: Path | None,
    whole: bool,
    options: tuple[str, ...],
    detach: bool,
) -> None:
    """Turn the items of INPUT (JSON lines) into one completion each, as one batch.

    Everything is checked before anything is paid; the complaint names the line. Ctrl-C detaches: the batch goes on.
    """
    from headrace.batch import Template
    from headrace.cli.batches import follow
    from headrace.cli.service import service
    from headrace.client import AsyncHeadrace
    from headrace.errors import InputError
    from headrace.facts import split_model
    from headrace.intake import read_items
    from headrace.options import parse_options

    template = Template(
        model=model,
        prompt=prompt,
        system=system,
        schema=read_schema(schema) if schema else None,
        schema_name=schema.stem if schema else "answer",
        options=parse_options(parse_pairs(options)),
    )
    if "/" not in model:
        split_model(model)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist")

    async def run() -> int:
        # Read once to the end before a service is started for it: most mistakes are in the input.
        for _ in read_items(input, template):
            pass
        async with service(provider=model) as url, AsyncHeadrace(url=url) as client:
            batch_id = await client.open(template, read_items(input, template))
            if detach:
                click.echo(batch_id)
                return 0
            click.echo(f"{batch_id}: return to it with `headrace watch {batch_id}`", err=True)
            return await follow(client, batch_id, out, whole=whole)

    sys.exit(asyncio.run(run()))


def read_schema(path: Path) -> dict[str, Any]:
    """The JSON Schema in `path`. Raises `InputError` naming the file and the place."""
    import msgspec

    from headrace.errors import InputError
    from headrace.schema.validate import check_schema

    try:
        return check_schema(msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise InputError(f"--schema {path}: {error.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"--schema {path}: not JSON: {error}") from None
    except InputError as error:
        raise InputError(f"--schema {path}: {error}") from None


def parse_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` words as a dict; a value that is JSON is taken as JSON, anything else as text."""
    import msgspec

    from headrace.errors import InputError

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--option {pair!r}: write NAME=VALUE")
        try:
            values[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            values[name] = value
    return values
