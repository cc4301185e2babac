"""The service that a command talks to: the one that runs, or one started for the command's own duration."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from headrace.cli import terminal
from headrace.errors import Unreachable
from headrace.guards.service_address import STATE_FOLDER, find_state_folder, read_ready
from headrace.local.valkey import die_with_parent
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace

T = TypeVar("T")

START_S = 30.0


def with_client(body: Callable[[AsyncHeadrace], Awaitable[T]]) -> T:
    """Run `body` with a connection to the service that runs."""
    from headrace.cli.interrupt import Interrupted, interruptible, until_interrupted
    from headrace.client.async_client import AsyncHeadrace

    async def connected() -> T:
        async with AsyncHeadrace() as client:
            return await body(client)

    async def whole() -> T:
        try:
            return await until_interrupted(connected())
        except Interrupted:
            raise click.Abort from None

    return interruptible(whole())


@contextlib.asynccontextmanager
async def connection(url: str | None) -> AsyncIterator[AsyncHeadrace]:
    """Yield a client of the service at `url`, or at the gateway that is named. Ctrl-C ends the wait for its answer."""
    from headrace.cli.interrupt import until_interrupted
    from headrace.client.async_client import AsyncHeadrace

    client = AsyncHeadrace(url)
    try:
        await until_interrupted(client.__aenter__())
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def service(*, provider: str) -> AsyncIterator[str | None]:
    """Yield the Redis URL of the service, None where a gateway is named (HEADRACE_API). With none running and none named, one
    is started here, said so, and stopped after."""
    settings = Settings.load()
    if settings.api:
        yield None
        return
    if settings.redis_url:
        yield settings.redis_url
        return
    state = find_state_folder()
    ready = read_ready(state) if state else None
    if ready is not None:
        yield ready.redis
        return
    folder = state or Path(STATE_FOLDER)
    terminal.echo(f"headrace is not running; starting it on {folder} for this command alone", err=True)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "ready.json"
        arguments = ["--data", str(folder), "--port", "0", "--no-flower", "--no-gateway", "--ready-file", str(file)]
        arguments.append(
            "--until-stdin-ends"
        )  # however this process ends, also where the kernel sends no signal for it
        if provider.startswith("rehearsal/"):
            arguments.append("--rehearsal")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "headrace", "up", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
            env={**os.environ},
        )
        said = asyncio.create_task(_last_lines(process))
        try:
            yield await _url(process, file, said)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await said


async def _url(process: asyncio.subprocess.Process, file: Path, said: asyncio.Task[list[str]]) -> str:
    deadline = asyncio.get_running_loop().time() + START_S
    while not file.exists():
        if process.returncode is not None:
            raise Unreachable("headrace did not start:\n" + "\n".join(await said))
        if asyncio.get_running_loop().time() > deadline:
            raise Unreachable(f"headrace did not start within {START_S:g} s; try `headrace up` to see why")
        await asyncio.sleep(0.02)
    return json.loads(file.read_text())["redis"]


async def _last_lines(process: asyncio.subprocess.Process) -> list[str]:
    lines: list[str] = []
    if process.stderr is not None:
        async for line in process.stderr:
            lines = [*lines[-9:], line.decode(errors="replace").rstrip()]
    return lines
