"""`headrace schema …`: what a provider is told of a schema, and whether data fits one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli import completions, terminal

if TYPE_CHECKING:
    from headrace.errors import InvalidOutput
    from headrace.schema import Lowered, SchemaError

REFUSED, NO_SCHEMA, INVALID = 1, 2, 1


@click.group(epilog="Example: headrace schema check review.json")
def schema() -> None:
    """Show how a schema is put to a provider, and check data against one. Nothing is sent."""


@schema.command(epilog="Example: headrace schema check review.json --target vllm")
@click.argument("source", metavar="FILE|MODULE:TYPE", shell_complete=completions.files)
@click.option("--target", default="openai", show_default=True, help="openai, vllm or openrouter.")
@click.option("--literal", is_flag=True, help="Carry also what the schema leaves unsaid: properties it does not name.")
@click.option("--json", "as_json", is_flag=True, help="The wire schema and the notes, as one JSON object.")
def check(source: str, target: str, literal: bool, as_json: bool) -> None:
    """Print the wire schema of a JSON Schema file or a type, what travels in another shape, and what is only validated.

    Exit code: 0 it can be carried, 1 it cannot, 2 it is no schema.
    """
    from headrace.cli.params import given_schema
    from headrace.cli.schema_files import with_files
    from headrace.errors import InvalidSchemaError, SchemaError
    from headrace.schema.lower import lower
    from headrace.schema.targets import target_of

    target_of(target)
    given, name = given_schema(source, "", check=False)
    try:
        given = given if name is None else with_files(given, source)
        lowered = lower(given, target, reading="literal" if literal else "intended")
    except InvalidSchemaError as error:
        raise InvalidSchemaError(f"{source}: {error}") from None
    except SchemaError as error:
        show_refusal(source, error, as_json=as_json)
        sys.exit(REFUSED)
    show_lowered(lowered, as_json=as_json)


@schema.command(epilog="Example: headrace schema init reviews:Review --out review.json")
@click.argument("source", metavar="MODULE:TYPE", shell_complete=completions.files)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here, where nothing is yet.")
def init(source: str, out: Path | None) -> None:
    """Print the JSON Schema of a Python type: a dataclass, a Pydantic model, a msgspec Struct, a TypedDict, a NamedTuple.

    It is what `--schema MODULE:TYPE` asks for, as a file to edit, to keep beside the data, or to give to others.
    """
    import msgspec

    from headrace.cli.params import given_schema
    from headrace.errors import InputError
    from headrace.schema.python_types import answer_type

    given, name = given_schema(source, "")
    if name is not None:
        raise InputError(f"{source}: is a schema already; name a type: module:Type")
    text = msgspec.json.format(msgspec.json.encode(answer_type(given).schema), indent=2) + b"\n"
    if out is None:
        terminal.echo(text, nl=False)
        return
    try:
        with out.open("xb") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"--out {out}: exists already; give it another name") from None
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None


@schema.command(epilog="Example: headrace schema validate review.json row.json")
@click.argument("source", metavar="FILE|MODULE:TYPE", shell_complete=completions.files)
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="The failing places, as a JSON list.")
def validate(source: str, data: Path, as_json: bool) -> None:
    """Check DATA, a JSON file or - for standard input, against a schema. Exit code: 0 valid, 1 invalid, 2 not readable."""
    from headrace.cli.params import given_schema
    from headrace.errors import InputError, InvalidOutput
    from headrace.guards.small_files import read_stream, read_whole
    from headrace.schema.python_types import answer_type
    from headrace.schema.validate import compiled, encoded, json_value

    given, _ = given_schema(source, "")
    try:
        text = read_stream(sys.stdin.buffer, "standard input") if str(data) == "-" else read_whole(data)
    except OSError as error:
        raise InputError(f"{data}: {error.strerror}") from None
    try:
        value = json_value(text)
    except InvalidOutput as error:
        raise InputError(f"{data}: not JSON: {error}") from None
    try:
        compiled(encoded(answer_type(given).schema or {})).validate(value)
    except InvalidOutput as error:
        show_violations(error, as_json=as_json)
        sys.exit(INVALID)
    terminal.echo("[]" if as_json else f"{data}: valid")


def show_lowered(lowered: Lowered, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        facts = {"target": lowered.target.name, "wire": lowered.wire, "notes": lowered.notes}
        terminal.echo(msgspec.json.encode(facts))
        return
    terminal.echo(msgspec.json.format(msgspec.json.encode(lowered.wire), indent=2).decode())
    for how, heading in (("moved", "Travels in another shape"), ("validated", "Checked in the answer only")):
        notes = [note for note in lowered.notes if note.how == how]
        if notes:
            terminal.echo(f"\n{heading}:", err=True)
        for note in notes:
            terminal.echo(f"  {note}", err=True)


def show_refusal(source: str, error: SchemaError, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        facts = {"pointer": error.pointer, "keyword": error.keyword, "remedy": error.remedy, "message": str(error)}
        terminal.echo(msgspec.json.encode({"refused": facts}))
    terminal.echo(f"{source}: cannot be carried: {error}", err=True)


def show_violations(error: InvalidOutput, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        terminal.echo(msgspec.json.encode(error.errors))
        return
    for violation in error.errors:
        terminal.echo(str(violation), err=True)
