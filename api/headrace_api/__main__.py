"""`python -m headrace_api`: one gateway process.

Exit codes: 0 stopped in order, 2 bad settings or an address that cannot be had or may not be, 3 Redis not reachable. SIGTERM
ends every stream with the word to come back, and no job.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import secrets
import socket
import sys
from pathlib import Path

from headrace.errors import HeadraceError, InputError, SettingsError
from headrace.guards.ownership import write_private
from headrace.logs import configure, get_logger, hide_exception_texts
from headrace.settings import Settings
from headrace.text.quoting import quoted
from headrace_api.access.callers import CallerPolicy, is_loopback
from headrace_api.access.descriptors import raise_limit
from headrace_api.access.middleware import AccessMiddleware
from headrace_api.app import make_app
from headrace_api.auth import EVERY_JOB, SCOPES, Gate
from headrace_api.server import make_server
from headrace_api.state import Gateway

TOKEN_S = 24 * 3600.0
BACKLOG = 2048
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+")


def main(argv: list[str] | None = None) -> int:
    """Run a gateway until a signal ends it; returns the exit code."""
    hide_exception_texts()
    options = parse(argv)
    try:
        settings = Settings.load()
        if options.token:
            print(owner_token(settings))  # noqa: T201 (what was asked for)
            return 0
        return asyncio.run(serve(options, settings))
    except HeadraceError as error:
        print(f"headrace gateway: {error}", file=sys.stderr)  # noqa: T201 (the log may not be set up yet)
        return error.exit_code


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace_api", description="One gateway process of headrace.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8400, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument("--ready-file", type=Path, help='written when it listens: {"pid": …, "url": …}')
    parser.add_argument("--token", action="store_true", help="print a token for all jobs, valid for a day, and end")
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace, settings: Settings) -> int:
    configure(settings.log_level, "pairs")
    origins = [checked_origin(origin.strip()) for origin in settings.gateway_origins.split(",") if origin.strip()]
    with listening(options.host, options.port) as listener:
        address, port = listener.getsockname()[:2]
        if not is_loopback(address) and not settings.stream_secret:
            raise InputError(
                f"--host {options.host} is reached from other machines, and HEADRACE_STREAM_SECRET is not set. Set it (16 "
                "characters or more; every gateway has the same), or listen on 127.0.0.1."
            )
        listener.listen(BACKLOG)
        url = f"http://{shown(options.host)}:{port}"
        gateway = make_gateway(settings, origins, on_loopback=is_loopback(address))
        server = make_server(
            AccessMiddleware(make_app(gateway, origins), gateway.callers, gateway.responses), gateway, raise_limit()
        )
        async with gateway.running():

            def on_start() -> None:
                listener.listen(BACKLOG)  # the server has set its own, which is how many it accepts at once
                announce(options.ready_file, url)

            server.on_start = on_start
            # What the imports made stays: a full collection that looks at it stops every stream for 0.1 s.
            gc.freeze()
            await server.serve([listener])
    return 0


def checked_origin(given: str) -> str:
    """Return an origin as browsers send it. Raises `SettingsError`."""
    origin = given.rstrip("/").lower()
    if not ORIGIN.fullmatch(origin):
        raise SettingsError(
            f"HEADRACE_GATEWAY_ORIGINS: {quoted(given)} is no origin; write each as https://app.example, or with a port"
        )
    return origin


def make_gateway(settings: Settings, origins: list[str], *, on_loopback: bool) -> Gateway:
    """Return the gateway: open to callers without a token where the settings say so; where they say nothing, on loopback."""
    is_implicit = settings.gateway_open is None and on_loopback
    is_open = is_implicit or bool(settings.gateway_open)
    own = [settings.gateway_url] if settings.gateway_url else []
    callers = CallerPolicy(is_open=is_open, is_implicit=is_implicit, origins=[*origins, *own])
    return Gateway(settings, Gate(secret(settings), is_open=is_open), callers)


def secret(settings: Settings) -> bytes:
    if settings.stream_secret:
        return settings.stream_secret.encode()
    get_logger("headrace.api").warning(
        "no_secret", told="HEADRACE_STREAM_SECRET is not set: tokens hold for this process alone"
    )
    return secrets.token_bytes(32)


def owner_token(settings: Settings) -> str:
    """Return a token for whoever runs the gateway. Raises `InputError` without a secret that the gateway has too."""
    if not settings.stream_secret:
        raise InputError("--token needs HEADRACE_STREAM_SECRET, the one that the gateway has")
    gate = Gate(settings.stream_secret.encode(), is_open=False)
    return gate.sign(EVERY_JOB, SCOPES, sub="owner", lasts_s=TOKEN_S)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket at that address, which does not listen yet. Raises `InputError` when the address cannot be had."""
    try:
        # With the protocol by name: asyncio switches Nagle's algorithm off for no other socket, and an answer's second write
        # would wait for the client's acknowledgement of the first, 40 ms.
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InputError(
            f"port {port} on {host} cannot be taken: {error.strerror}. Choose another with --port N (0 takes a free one)."
        ) from None
    return listener


def shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def announce(ready_file: Path | None, url: str) -> None:
    if ready_file is not None:
        write_private(ready_file, json.dumps({"pid": os.getpid(), "url": url}))
    get_logger("headrace.api").info("ready", url=url, pid=os.getpid())


if __name__ == "__main__":
    sys.exit(main())
