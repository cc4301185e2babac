"""`headrace doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from headrace.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "dim"}


@click.command(epilog="Example: headrace doctor --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(as_json: bool) -> None:
    """Look at the installation, Redis, the file store, the providers and the workers; say what to do.

    Nothing is changed, and nothing is paid. Exit codes: 0 no error, 1 an error, 3 Redis not reachable.
    """
    import msgspec

    from headrace.doctor import exit_code, findings

    found = []
    on_terminal = sys.stdout.isatty() and not as_json
    for finding in findings():
        found.append(finding)
        if as_json:
            click.echo(msgspec.json.encode(finding))
        elif not on_terminal:
            click.echo(line(finding))
    if on_terminal:
        from rich.console import Console

        print_table(found, Console())
    sys.exit(exit_code(found))


def line(finding: Finding) -> str:
    """For a log or for `grep`: status, name, what was seen, and what to do."""
    fix = f" -> {finding.fix}" if finding.fix else ""
    return f"{finding.status:<7} {finding.name}: {finding.what}{fix}"


def print_table(found: Iterable[Finding], console: Console) -> None:
    """For people."""
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "what was seen")
    for finding in found:
        # Text, not markup: rich would swallow the brackets of `headrace[worker]`.
        what = Text(finding.what)
        if finding.fix:
            what.append(f"\n{finding.fix}", style="bold")
        table.add_row(Text(finding.name), Text(finding.status, style=STYLES[finding.status]), what)
    console.print(table)
