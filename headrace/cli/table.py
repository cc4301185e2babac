"""Lists: a table for people, JSON lines for `--json` and for pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click


def show(found: Sequence[Any], columns: Sequence[str], row: Callable[[Any], Sequence[str]], *, as_json: bool) -> None:
    """Print `found`: structs as JSON lines, or `row(each)` under `columns` on a terminal."""
    import msgspec

    if as_json or not sys.stdout.isatty():
        for each in found:
            click.echo(msgspec.json.encode(each))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for each in found:
        table.add_row(*row(each))
    Console().print(table)


def when(ms: int) -> str:
    """A time as people read it, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def took(created_ms: int, ended_ms: int | None) -> str:
    return "" if ended_ms is None else f"{(ended_ms - created_ms) / 1000:.1f} s"
