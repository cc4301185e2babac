"""`headrace worker`: one worker process, and the question whether it is well."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headrace.cli import terminal
from headrace.ledger.queues import QUEUES
from headrace.text.quoting import shortened

NEEDED = ("headrace_worker", "openai", "aiohttp", "billiard", "httpx2")
ANSWER_S = 3.0


@click.command(epilog="Example: headrace worker bulk --calls 128")
@click.argument("role", type=click.Choice(QUEUES))
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="JSON, once it takes work.")
@click.option("--calls", type=click.IntRange(1), help="Provider calls in flight. [default: HEADRACE_CALLS, or 256]")
@click.option("--check", is_flag=True, help="Start none: ask the one that wrote --ready-file whether it answers.")
def worker(role: str, ready_file: Path | None, calls: int | None, check: bool) -> None:
    """Run one worker for the queue ROLE until a signal ends it.

    SIGTERM drains: calls in flight finish, and what is left after HEADRACE_DRAIN_S is handed back.

    With --check, for a supervisor's health check: 0 when the worker answers, 1 when it does not, 3 without Redis.
    """
    from importlib.util import find_spec

    from headrace.cli.ready import clear_ready_file
    from headrace.errors import InputError
    from headrace.guards.roles import environment_of

    if check:
        if ready_file is None:
            raise InputError("--check needs the --ready-file that the worker was started with")
        sys.exit(answers(role, ready_file))
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"`headrace worker` needs the extra `worker`, and {', '.join(missing)} is not installed: "
            "pip install 'headrace[worker]'"
        )
    arguments = ["--role", role]
    if ready_file is not None:
        # One from before a crash would name a process that is no longer ours.
        clear_ready_file(ready_file)
        arguments += ["--ready-file", str(ready_file)]
    if calls is not None:
        os.environ["HEADRACE_CALLS"] = str(calls)
    # In place of this process: signals of a supervisor must reach the worker itself.
    command = [sys.executable, "-m", "headrace_worker", *arguments]
    os.execve(sys.executable, command, environment_of("worker", os.environ))  # noqa: S606


def answers(role: str, ready_file: Path) -> int:
    """Return 0 when the worker of `ready_file` takes work and answers through the broker; 1, and the reason on stderr,
    otherwise."""
    import json
    import socket

    from headrace.doctor.context import ask_workers
    from headrace.guards.service_address import redis_url
    from headrace.settings import Settings

    try:
        ready = json.loads(ready_file.read_bytes())
        name = f"{ready['role']}-{ready['pid']}@{socket.gethostname()}"
    except FileNotFoundError:
        terminal.echo(f"no worker is ready: {shortened(str(ready_file))} is not there", err=True)
        return 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        terminal.echo(f"{shortened(str(ready_file))} is no worker's ready file ({type(error).__name__})", err=True)
        return 1
    settings = Settings.load()
    queues = ask_workers(redis_url(settings), settings.namespace, ANSWER_S, only=name).get(name)
    if queues is None:
        terminal.echo(f"{name} did not answer within {ANSWER_S:g} s", err=True)
        return 1
    if role not in queues:
        terminal.echo(f"{name} does not take from {role}, but from {', '.join(queues)}", err=True)
        return 1
    return 0
