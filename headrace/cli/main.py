"""The `headrace` command. One file per noun; everything heavy is imported by the command that needs it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from headrace.errors import HeadraceError

COMMANDS = {
    "batches": "headrace.cli.batches:batches",
    "completion": "headrace.cli.completion:completion",
    "doctor": "headrace.cli.doctor:doctor",
    "extract": "headrace.cli.extract:extract",
    "files": "headrace.cli.files:files",
    "jobs": "headrace.cli.jobs:jobs",
    "run": "headrace.cli.run:run",
    "up": "headrace.cli.up:up",
    "version": "headrace.cli.version:version",
    "watch": "headrace.cli.batches:watch",
    "worker": "headrace.cli.worker:worker",
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace", prog_name="headrace")
def cli() -> None:
    """Bulk and interactive LLM completions through Celery workers: nothing lost, nothing finished twice.

    Exit codes: 0 ok, 1 some items failed, 2 bad input, 3 service not reachable, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; one line on stderr for whatever was wrong."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HeadraceError as error:
        click.echo(f"headrace: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
