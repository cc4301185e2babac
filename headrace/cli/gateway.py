"""`headrace gateway`: one gateway process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headrace.settings import Settings, variable

NEEDED = ("headrace_api", "litestar", "uvicorn", "websockets")


@click.command(epilog="Example: headrace gateway --host 0.0.0.0 --port 8400")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0 takes a free one.")
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="JSON, once it listens.")
@click.option("--token", is_flag=True, help="Start none: print a token for all jobs, valid for a day.")
def gateway(host: str, port: int, ready_file: Path | None, token: bool) -> None:
    """Run one gateway until a signal ends it: jobs submitted and watched over HTTP and WebSocket, and the web page.

    On loopback it takes every caller of this machine, but none that comes through a proxy; elsewhere it demands tokens
    (HEADRACE_GATEWAY_OPEN), signed with HEADRACE_STREAM_SECRET, or with what the file HEADRACE_STREAM_SECRET_FILE holds (made
    where it is not there). SIGTERM tells every viewer to come back and leaves the jobs alone.
    """
    from importlib.util import find_spec

    from headrace.cli.ready import clear_ready_file
    from headrace.errors import InputError
    from headrace.guards.ownership import own_files_only
    from headrace.guards.roles import environment_of

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"`headrace gateway` needs the extra `api`, and {', '.join(missing)} is not installed: "
            "pip install 'headrace[api]'"
        )
    arguments = ["--host", host, "--port", str(port)]
    if ready_file is not None:
        clear_ready_file(ready_file)
        arguments += ["--ready-file", str(ready_file)]
    if token:
        arguments.append("--token")
    own_files_only()
    environment = environment_of("gateway", os.environ) | secret_of(Settings.load())
    # In place of this process: signals of a supervisor must reach the gateway itself.
    command = [sys.executable, "-m", "headrace_api", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606


def secret_of(settings: Settings) -> dict[str, str]:
    """Return the variable that the gateway finds its secret in, where a file holds it. Raises `SettingsError`."""
    from headrace.guards.ownership import kept_secret

    if settings.stream_secret or not settings.stream_secret_file:
        return {}
    return {variable("stream_secret"): kept_secret(Path(settings.stream_secret_file))}
