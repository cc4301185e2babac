"""`python -m headrace_worker --role interactive|bulk|quarantine`: one worker process.

Exit codes: 0 stopped in order, 1 it could not run, 2 bad settings, 3 Redis not reachable. SIGTERM drains
(`HEADRACE_DRAIN_S`); the same signal again, or SIGQUIT, hands back at once what still runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, SettingsError, Unreachable
from headrace.guards.ownership import own_files_only, write_private
from headrace.guards.service_address import redis_url
from headrace.ledger.queues import BULK, INTERACTIVE, QUARANTINE
from headrace.ledger.recover import SHARD_WIDTH
from headrace.ledger.server_check import check_server
from headrace.logs import configure, get_logger, hide_exception_texts
from headrace.settings import Settings
from headrace.text.masking import masked
from headrace.text.quoting import quoted

CONCURRENCY = {INTERACTIVE: 0, BULK: 8, QUARANTINE: 256}
"""Tasks held at a time: a job is one call; a shard is many, bounded by HEADRACE_CALLS; suspects wait for a child process."""
WAITING_JOBS = 512
"""Jobs beside those that fill the calls of an interactive worker: they wait for a turn in it, where tenants and users take turns,
and not in the queue, where the first comes first."""
SPARE_SHARDS = 4
"""Shards beside those that fill the calls of a bulk worker: some are at their last items."""
CONNECT_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Run a worker until a signal ends it; returns the exit code."""
    hide_exception_texts()
    options = parse(argv)
    try:
        return run(options)
    except HeadraceError as error:
        print(f"headrace worker: {error}", file=sys.stderr)  # noqa: T201 (the log may not be set up yet)
        return error.exit_code


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace_worker", description="One worker process of headrace.")
    parser.add_argument("--role", required=True, choices=sorted(CONCURRENCY), help="the queue it serves")
    parser.add_argument(
        "--concurrency",
        type=positive,
        help="tasks held at a time (interactive 512 beside its calls, quarantine 256, bulk 8 or as many as fill its calls)",
    )
    parser.add_argument("--ready-file", type=Path, help='written when it takes work: {"pid": …, "role": …}')
    parser.add_argument("--name", help="its name in Flower (default: role and process id)")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def run(options: argparse.Namespace) -> int:
    own_files_only()
    settings = Settings.load()
    # Celery reads it when `celery.concurrency` is imported: before anything else of Celery.
    os.environ["CELERY_CUSTOM_WORKER_POOL"] = "headrace_worker.pool:TaskPool"
    configure(settings.log_level)
    from headrace_worker.celery_app import make_app

    await_redis(redis_url(settings))
    check_trust(settings)

    from celery import signals
    from celery.exceptions import SecurityWarning
    from celery.utils.nodenames import gethostname

    # Celery warns of being root at length, on account of pickle. We accept JSON only, and containers run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app: Any = make_app(settings)
    name = options.name or f"{options.role}-{os.getpid()}"

    def on_ready(**_: Any) -> None:
        announce(options, name)

    signals.worker_ready.connect(on_ready, weak=False)
    # Not `app.worker_main`: it imports Celery's whole command line, 0.4 s of the start.
    worker = app.Worker(
        hostname=name if "@" in name else f"{name}@{gethostname()}",
        pool_cls="custom",
        queues=[options.role],
        concurrency=options.concurrency or concurrency_of(options.role, settings.calls),
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        loglevel="WARNING",
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def concurrency_of(role: str, calls: int) -> int:
    """Return how many tasks a worker holds at a time, that makes so many `calls`."""
    if role == INTERACTIVE:
        return calls + WAITING_JOBS
    shards = -(-calls // SHARD_WIDTH) + SPARE_SHARDS if role == BULK else 0
    return max(CONCURRENCY[role], shards)


def await_redis(url: str) -> None:
    """Wait until Redis answers, `CONNECT_S` at most. Raises `Unreachable`, or `SettingsError` for no URL."""
    import redis
    from redis.exceptions import AuthenticationError, BusyLoadingError

    shown = masked(url)
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2, retry=None)
    except ValueError as error:
        raise SettingsError(f"HEADRACE_REDIS_URL={quoted(shown)}: {error}") from None
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            client.ping()
            client.close()
            return
        except BusyLoadingError as error:
            reason: Exception = error
        except AuthenticationError as error:
            raise Unreachable(f"Redis at {shown} refuses these credentials: {error}") from None
        except (redis.RedisError, OSError) as error:
            reason = error
        if time.monotonic() > deadline:
            raise Unreachable(
                f"Redis at {shown} did not answer for {CONNECT_S:g} s ({type(reason).__name__}: {reason}). Start it "
                "with `headrace up`, or set HEADRACE_REDIS_URL to a server that runs."
            ) from None
        time.sleep(0.05)


def check_trust(settings: Settings) -> None:
    """Warn of a server that evicts or does not persist; with `HEADRACE_STRICT=1` it is a `SettingsError`."""
    import redis

    with redis.Redis.from_url(redis_url(settings), socket_timeout=5) as client:
        problems = check_server(client)
    if problems and settings.strict:
        raise SettingsError(f"HEADRACE_STRICT=1, and the server at HEADRACE_REDIS_URL: {problems[0]}")
    for problem in problems:
        get_logger("headrace.worker").warning("untrusted_server", problem=problem)


def announce(options: argparse.Namespace, name: str) -> None:
    """Say in the log and in the ready file that the worker takes work."""
    import gc
    import json
    import signal

    # What the imports made stays: a full collection that looks at it stops every stream for 0.1 s.
    gc.freeze()
    # Celery restarts a worker on SIGHUP; a terminal that closes must end it as SIGTERM does.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    get_logger("headrace.worker").info("ready", role=options.role, name=name, pid=os.getpid())
    if options.ready_file:
        write_private(options.ready_file, json.dumps({"pid": os.getpid(), "role": options.role}))


if __name__ == "__main__":
    sys.exit(main())
