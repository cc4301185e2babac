"""`headrace gateway`: one gateway process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

NEEDED = ("headrace_api", "litestar", "uvicorn", "websockets")


@click.command(epilog="Example: headrace gateway --host 0.0.0.0 --port 8400")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0 takes a free one.")
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="JSON, once it listens.")
@click.option("--token", is_flag=True, help="Start none: print a token for all jobs, valid for a day.")
def gateway(host: str, port: int, ready_file: Path | None, token: bool) -> None:
    """Run one gateway until a signal ends it: jobs submitted and watched over HTTP and WebSocket, and the web page.

    On loopback it takes every caller of this machine, but none that comes through a proxy; elsewhere it demands tokens
    (HEADRACE_GATEWAY_OPEN), and HEADRACE_STREAM_SECRET to sign them with. SIGTERM tells every viewer to come back and leaves
    the jobs alone.
    """
    from importlib.util import find_spec

    from headrace.errors import InputError

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"`headrace gateway` needs the extra `api`, and {', '.join(missing)} is not installed: "
            "pip install 'headrace[api]'"
        )
    arguments = ["--host", host, "--port", str(port)]
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
        arguments += ["--ready-file", str(ready_file)]
    if token:
        arguments.append("--token")
    # In place of this process: signals of a supervisor must reach the gateway itself.
    os.execv(sys.executable, [sys.executable, "-m", "headrace_api", *arguments])  # noqa: S606
