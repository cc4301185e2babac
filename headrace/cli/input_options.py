"""`--id`, `--keep`, `--on-bad-row`, `--follow`: the options of a command that say how its input is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli.spool import readable

F = TypeVar("F", bound=Callable[..., Any])


def input_options(command: F) -> F:
    """Add the options to a command."""
    for option in (
        click.option("--follow", is_flag=True, help="Read links that lead out of a folder, or of a pattern."),
        click.option(
            "--on-bad-row",
            type=click.Choice(["refuse", "error", "skip"]),
            default="refuse",
            show_default=True,
            help="What to do with rows that cannot be used: refuse them all, make an error line of each, or skip them.",
        ),
        click.option("--keep", metavar="COLUMNS", help="Columns of the input that rows carry: a,b or all."),
        click.option(
            "--id",
            "id_column",
            metavar="COLUMN",
            help="The column of the ids, or @line. [default: custom_id, id, line]",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def readable_inputs(given: tuple[str, ...], *, limit: int | None, encoding: str | None) -> Iterator[Any]:
    """Yield the input as a path that can be read twice, or as a list of them."""
    with ExitStack() as stack:
        paths = [stack.enter_context(readable(name, limit=limit, encoding=encoding)) for name in given]
        yield paths[0] if len(paths) == 1 else [Path(path) for path in paths]
