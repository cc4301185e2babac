"""`python -m headrace_api`: one gateway process.

Exit codes: 0 stopped in order, 2 bad settings or an address that cannot be had, 3 Redis not reachable. SIGTERM ends every
stream with the word to come back, and no job.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import ipaddress
import json
import logging
import os
import secrets
import socket
import sys
from pathlib import Path

import structlog

from headrace.errors import HeadraceError, InputError
from headrace.settings import Settings
from headrace_api.app import make_app
from headrace_api.auth import EVERY_JOB, LOOPBACK, SCOPES, Gate
from headrace_api.gateway import Gateway
from headrace_api.server import make_server

TOKEN_S = 24 * 3600.0


def main(argv: list[str] | None = None) -> int:
    """Run a gateway until a signal ends it; returns the exit code."""
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
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    structlog.configure(
        logger_factory=structlog.stdlib.LoggerFactory(), processors=[structlog.processors.KeyValueRenderer()]
    )
    logging.getLogger("uvicorn").setLevel("WARNING")
    origins = [origin.strip() for origin in settings.gateway_origins.split(",") if origin.strip()]
    is_open = loopback(options.host) if settings.gateway_open is None else settings.gateway_open
    gateway = Gateway(settings, Gate(secret(settings), is_open=is_open, origins=origins))
    server = make_server(make_app(gateway, origins), gateway)
    with listening(options.host, options.port) as listener:
        url = f"http://{shown(options.host)}:{listener.getsockname()[1]}"
        async with gateway.running():
            server.on_start = lambda: announce(options.ready_file, url)
            # What the imports made stays: a full collection that looks at it stops every stream for 0.1 s.
            gc.freeze()
            await server.serve([listener])
    return 0


def secret(settings: Settings) -> bytes:
    if settings.stream_secret:
        return settings.stream_secret.encode()
    structlog.get_logger("headrace.api").warning(
        "no_secret", told="HEADRACE_STREAM_SECRET is not set: tokens hold for this process alone"
    )
    return secrets.token_bytes(32)


def owner_token(settings: Settings) -> str:
    """A token for whoever runs the gateway. Raises `InputError` without a secret that the gateway has too."""
    if not settings.stream_secret:
        raise InputError("--token needs HEADRACE_STREAM_SECRET, the one that the gateway has")
    gate = Gate(settings.stream_secret.encode(), is_open=False)
    return gate.sign(EVERY_JOB, SCOPES, sub="owner", lasts_s=TOKEN_S)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `InputError` when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        raise InputError(
            f"port {port} on {host} cannot be taken: {error.strerror}. Choose another with --port N (0 takes a free one)."
        ) from None
    return listener


def loopback(host: str) -> bool:
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def announce(ready_file: Path | None, url: str) -> None:
    if ready_file is not None:
        partial = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        partial.write_text(json.dumps({"pid": os.getpid(), "url": url}))
        partial.replace(ready_file)
    structlog.get_logger("headrace.api").info("ready", url=url, pid=os.getpid())


if __name__ == "__main__":
    sys.exit(main())
