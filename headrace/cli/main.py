"""The `headrace` command. One file per noun; everything heavy is imported by the command that needs it."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from headrace.cli import terminal
from headrace.cli.arguments import hide_arguments
from headrace.errors import HeadraceError
from headrace.logs import hide_exception_texts
from headrace.text.masking import masked
from headrace.text.quoting import MAX_QUOTED, shortened

# The words of `headrace --help`, which imports none of the commands: it has to answer at once.
COMMANDS = {
    "batches": ("headrace.cli.batches:batches", "List, show, cancel and retry batches."),
    "cache": ("headrace.cli.cache:cache", "Show and empty the answer cache."),
    "completion": ("headrace.cli.completion:completion", "Print the completion script for SHELL."),
    "doctor": ("headrace.cli.doctor:doctor", "Check this machine and the service, and say how to mend what is wrong."),
    "extract": ("headrace.cli.extract:extract", "Turn the items of INPUT into one completion each, as one batch."),
    "files": ("headrace.cli.files:files", "List, print and delete what batches left in the file store."),
    "gateway": ("headrace.cli.gateway:gateway", "Run one gateway process: HTTP, WebSocket and the web page."),
    "jobs": ("headrace.cli.jobs:jobs", "List, show, fetch and cancel single jobs."),
    "limits": ("headrace.cli.limits:limits", "List the limits that workers keep together, and what is used of them."),
    "models": ("headrace.cli.models:models", "List the aliases and the known models, with context lengths and prices."),
    "run": ("headrace.cli.run:run", "Put PROMPT to a model as one job and print the answer."),
    "schema": ("headrace.cli.schema:schema", "Show how a schema is put to a provider; check data against one."),
    "up": (
        "headrace.cli.up:up",
        "Run the service: Valkey, workers, gateway, Flower, and a stand-in provider without a key.",
    ),
    "version": ("headrace.cli.version:version", "The versions of headrace and of the libraries it runs on."),
    "watch": ("headrace.cli.batches:watch", "Return to a job or a batch and watch it to its end."),
    "worker": ("headrace.cli.worker:worker", "Run one worker process."),
}

CLIENTS = frozenset({"batches", "extract", "files", "jobs", "models", "run", "watch"})
"""Commands that ask the service, and may do so through a gateway."""
ENVIRONMENT = ("MODEL",)
"""Variables that stand for options."""


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click suggests commands that are imported: none is
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        if cmd_name in CLIENTS:
            from headrace.cli.api import take_api

            take_api(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: headrace run "Why is the sky blue?" --model openai/gpt-5-mini',
)
@click.version_option(package_name="headrace", prog_name="headrace")
def cli() -> None:
    """Bulk and interactive LLM completions through Celery workers: nothing lost, nothing finished twice.

    Exit codes: 0 ok, 1 some items failed, 2 bad input, 3 service not reachable, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; one line on stderr for whatever was wrong."""
    hide_exception_texts()
    try:
        if arguments is None:
            hide_arguments()
        code = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        terminal.echo(usage_of(error), err=True, nl=False)
        sys.exit(error.exit_code)
    except HeadraceError as error:
        terminal.echo(f"headrace: {masked(with_words_cut(str(error)))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:  # of our own output, as a full disk; whatever else was read or written has said so by name
        terminal.echo(f"headrace: {error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def usage_of(error: click.ClickException) -> str:
    """Return what click says of wrong words, with the long ones that it quotes cut."""
    said = f"Error: {error.format_message()}\n"
    if isinstance(error, click.UsageError):
        if error.ctx is not None:
            error.ctx.color = True  # or click takes out what looks like colour
        told = Verbatim()
        error.show(told)
        said = told.getvalue()
    return with_words_cut(said)


def with_words_cut(message: str) -> str:
    """Return `message` with the long ones of the command's words cut, however they got into it."""
    given = [*sys.argv[1:], *filter(None, (os.environ.get(name) for name in ENVIRONMENT))]
    long = {part for word in given for part in (word, word.partition("=")[2]) if len(part) > MAX_QUOTED}
    for part in sorted(long, key=len, reverse=True):
        message = message.replace(part, shortened(part)).replace(repr(part)[1:-1], shortened(repr(part)[1:-1]))
    return message


class Verbatim(io.StringIO):
    """A text that click writes to as it would to a terminal."""

    def isatty(self) -> bool:
        return True
