"""`headrace completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from headrace.cli import terminal


@click.command(epilog='Example: eval "$(headrace completion bash)"   # in ~/.bashrc')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL."""
    from click.shell_completion import get_completion_class

    from headrace.cli.main import cli

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    terminal.echo(made(cli, {}, "headrace", "_HEADRACE_COMPLETE").source())
