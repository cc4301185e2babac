"""`headrace doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headrace.cli import terminal

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
    on_terminal = terminal.is_terminal() and not as_json
    for finding in findings():
        found.append(finding)
        if as_json:
            terminal.echo(msgspec.json.encode(finding))
        elif not on_terminal:
            terminal.echo(line(finding))
    if on_terminal:
        print_table(found, terminal.console())
    sys.exit(exit_code(found))


def line(finding: Finding) -> str:
    """Return the finding for a log or for `grep`: status, name, what was seen, and what to do."""
    fix = f" -> {finding.fix}" if finding.fix else ""
    return f"{finding.status:<7} {finding.name}: {finding.what}{fix}"


def print_table(found: Iterable[Finding], console: Console) -> None:
    """Print the findings for people."""
    from rich.table import Table

    table = Table("check", "", "what was seen")
    for finding in found:
        what = terminal.cell(finding.what)
        if finding.fix:
            what.append("\n").append(terminal.cell(finding.fix, "bold"))
        table.add_row(terminal.cell(finding.name), terminal.cell(finding.status, STYLES[finding.status]), what)
    console.print(table)
