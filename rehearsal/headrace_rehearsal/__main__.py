"""The command `headrace-rehearsal`, also `python -m headrace_rehearsal`: listens until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import math
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from headrace_rehearsal.account import Account
from headrace_rehearsal.fault_rates import parse_rates
from headrace_rehearsal.faults import BadOrder, Orders
from headrace_rehearsal.rate_limits import RateLimits
from headrace_rehearsal.server import MAX_BODY_BYTES, Rehearsal

STOP_WITHIN_S = 0.1


async def serve(rehearsal: Rehearsal, host: str, port: int, ready_file: Path | None) -> None:
    """Listen until SIGTERM or SIGINT. Raises `OSError` when the address cannot be had."""
    loop = asyncio.get_running_loop()

    def make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    # Without handler_cancellation a client that leaves is only noticed at the next write.
    http = web.Server(rehearsal.handle, request_factory=make_request, handler_cancellation=True, access_log=None)
    listener = await loop.create_server(http, host, port, backlog=1024)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.sockets[0].getsockname()[1]}"
    try:
        if ready_file:
            tell_ready(ready_file, url)
        sys.stderr.write(f"headrace-rehearsal: listening on {url}/v1\n")
        await stop.wait()
    finally:
        rehearsal.stopping = True
        listener.close()
        await http.shutdown(STOP_WITHIN_S)


def tell_ready(ready_file: Path, url: str) -> None:
    """Write where to find us: whole or not at all."""
    part = ready_file.with_name(f".{ready_file.name}.{secrets.token_hex(8)}")
    # In a folder of all users somebody may be waiting under a name that can be guessed.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode({"url": url, "pid": os.getpid()}))
    part.replace(ready_file)


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="headrace-rehearsal", description="A stand-in, OpenAI-compatible provider that answers from the schema."
    )
    add = arguments.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8402, help="port to listen on, 0 for a free one (default: %(default)s)")
    add("--account", type=Path, metavar="PATH", help="append an account of all calls to this file, as JSON lines")
    add("--latency", type=amount, default=0.0, metavar="MS", help="milliseconds before the first byte (default: 0)")
    add("--jitter", type=amount, default=0.0, metavar="MS", help="up to so many more, fixed for a request (default: 0)")
    add("--tps", type=amount, default=0.0, metavar="N", help="tokens a second, 0 for all at once (default: 0)")
    add("--fault-rate", type=shares, default={}, metavar="FAULT=SHARE,…", help="random, such as 429=0.05,500=0.01")
    add("--rpm", type=amount, default=0.0, metavar="N", help="refuse more requests a minute than this, 0 for no limit")
    add("--tpm", type=amount, default=0.0, metavar="N", help="refuse more tokens a minute than this, 0 for no limit")
    add("--seed", type=int, default=0, help="of the random faults and the jitter (default: 0)")
    add("--ready-file", type=Path, metavar="PATH", help='write {"url","pid"} here once listening')
    return arguments


def amount(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def shares(text: str) -> dict[str, float]:
    try:
        return parse_rates(text)
    except BadOrder as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns 0 after SIGTERM or SIGINT, 2 when it cannot listen or open a file; says why and what to do."""
    given = parser().parse_args(arguments)
    account = None
    try:
        if given.ready_file:
            given.ready_file.unlink(missing_ok=True)
        account = Account(given.account) if given.account else None
        orders = Orders(latency_ms=given.latency, jitter_ms=given.jitter, tps=given.tps)
        gc.freeze()
        gc.set_threshold(50_000)  # calls leave no cycles behind: looking for them is CPU the measured programs need
        limits = RateLimits(requests=given.rpm, tokens=given.tpm)
        rehearsal = Rehearsal(account, orders, given.fault_rate, given.seed, limits)
        asyncio.run(serve(rehearsal, given.host, given.port, given.ready_file))
    except OSError as error:
        reason = str(error)
        if error.errno == errno.EADDRINUSE:
            reason = (
                f"port {given.port} on {given.host} is taken. Stop what listens there, or choose another with --port "
                "(0 takes a free one)."
            )
        sys.stderr.write(f"headrace-rehearsal: {reason}\n")
        return 2
    finally:
        if given.ready_file:
            given.ready_file.unlink(missing_ok=True)
        if account:
            with contextlib.suppress(OSError):
                account.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
