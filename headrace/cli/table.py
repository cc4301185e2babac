"""Lists: a table for people, JSON lines for `--json` and for pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from headrace.cli import terminal


def show(found: Sequence[Any], columns: Sequence[str], row: Callable[[Any], Sequence[str]], *, as_json: bool) -> None:
    """Print `found`: structs as JSON lines, or `row(each)` under `columns` on a terminal."""
    import msgspec

    if as_json or not terminal.is_terminal():
        for each in found:
            terminal.echo(msgspec.json.encode(each))
        return
    terminal.table(columns, map(row, found))


def when(ms: int) -> str:
    """Return a time as people read it, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def took(created_ms: int, ended_ms: int | None) -> str:
    return "" if ended_ms is None else f"{(ended_ms - created_ms) / 1000:.1f} s"
