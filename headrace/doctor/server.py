"""The Redis server, and who serves its queues."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from headrace.broker.queue import waiting_hints
from headrace.doctor.context import WORKERS_S, DoctorContext, Finding, Status
from headrace.errors import SettingsError, Unreachable, UntrustedFile
from headrace.guards.service_address import find_state_folder
from headrace.ledger.queues import QUEUES
from headrace.ledger.server_check import problems_of
from headrace.text.masking import masked

OLDEST_REDIS = (6, 2)
MAX_CLOCK_DIFFERENCE_S = 2.0


def service(bench: DoctorContext) -> Finding:
    """Check that it is known where the service is."""
    try:
        url, _ = bench.url, bench.client
    except Unreachable as error:
        bench.unreachable = True
        what = str(error).partition(" Start it")[0].rstrip(".")
        return Finding("service", "error", what, "Start it with `headrace up`, or set HEADRACE_REDIS_URL.")
    except UntrustedFile as error:
        bench.unreachable = True
        what, _, fix = str(error).partition(", so it is not used: ")
        return Finding("service", "error", f"{what}, so it is not used", f"{fix[:1].upper()}{fix[1:]}")
    except SettingsError as error:
        bench.unreachable = True
        return Finding(
            "service",
            "error",
            masked(str(error)),
            "Write `redis://host:port/0`, `rediss://…` or `unix:///path`; a password percent-encoded.",
        )
    where = "HEADRACE_REDIS_URL" if bench.settings.redis_url else f"the folder {find_state_folder()}"
    return Finding("service", "ok", f"{masked(url)}, from {where}")


def redis_answers(bench: DoctorContext) -> Finding:
    """Check that Redis answers, with these credentials."""
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        BusyLoadingError,
        NoPermissionError,
        RedisError,
    )

    where = masked(bench.url)
    try:
        began = time.monotonic()
        bench.client.ping()
        return Finding("redis", "ok", f"answers after {(time.monotonic() - began) * 1000:.0f} ms")
    except (AuthenticationError, AuthorizationError, NoPermissionError):
        what = f"{where} refuses these credentials"
        fix = "Put the user and the password into HEADRACE_REDIS_URL: redis://user:password@host:port/0."
    except BusyLoadingError:
        what, fix = f"{where} still loads its data", "Wait until it has, and look again."
    except (RedisError, OSError) as error:
        what = f"no answer from {where} ({type(error).__name__})"
        fix = "Start that server, or correct HEADRACE_REDIS_URL; unset it, and `headrace up` brings a server."
    bench.unreachable = True
    return Finding("redis", "error", what, fix)


def server_version(bench: DoctorContext) -> Finding:
    """Check that the server knows all commands that are sent to it."""
    info = bench.client.info("server")
    compatible = str(info.get("redis_version", "0"))
    what = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {compatible}"
    if tuple(int(part) for part in re.findall(r"\d+", compatible)[:2]) >= OLDEST_REDIS:
        return Finding("server version", "ok", what)
    oldest = ".".join(map(str, OLDEST_REDIS))
    return Finding("server version", "error", f"{what} is too old", f"Use Redis {oldest} or newer, or any Valkey.")


def persistence(bench: DoctorContext) -> Finding:
    """Check that a restart of the server loses nothing."""
    return trust(bench, "persistence", "appendonly", "it writes an append-only file")


def eviction(bench: DoctorContext) -> Finding:
    """Check that the server removes nothing by itself."""
    return trust(bench, "eviction", "maxmemory-policy", "it evicts nothing")


def trust(bench: DoctorContext, name: str, setting: str, good: str) -> Finding:
    """Return what `problems_of` says of one setting of the server."""
    config = bench.config
    if config is None or setting not in config:
        return Finding(
            name, "warning", f"the server does not tell its {setting}", "Look at it where the server is administered."
        )
    problems = problems_of({setting: config[setting]})
    if not problems:
        return Finding(name, "ok", good)
    what, _, fix = problems[0].rpartition(" Set ")
    status: Status = "error" if bench.settings.strict else "warning"
    return Finding(name, status, what.rstrip(". "), f"Set {fix}")


def clock(bench: DoctorContext) -> Finding:
    """Check that this machine and the server agree what time it is. Leases go by the server's clock, logs by this machine's."""
    before = time.time()
    seconds, microseconds = bench.client.time()
    difference = (before + time.time()) / 2 - (seconds + microseconds / 1e6)
    if abs(difference) <= MAX_CLOCK_DIFFERENCE_S:
        return Finding("clock", "ok", f"{abs(difference):.1f} s from the server's")
    side = "before" if difference > 0 else "behind"
    return Finding(
        "clock",
        "warning",
        f"this machine is {abs(difference):.1f} s {side} the server",
        "Synchronise both (NTP). Leases go by the server's clock; times in logs and reports would mislead.",
    )


def rejections(bench: DoctorContext) -> Finding:
    """Check that nothing had to be set aside: no message that is no hint, no damaged record."""
    aside, keys = bench.inspection.rejections(), bench.inspection.keys
    if not aside.text:
        return Finding("set aside", "ok", "nothing")
    return Finding(
        "set aside",
        "warning",
        f"{aside.text} could not be worked with and were set aside; {aside.kept} of them are kept",
        f"Somebody else writes to this namespace? See LRANGE '{keys.rejected}' 0 9; then DEL '{keys.rejections}'.",
    )


def queues(bench: DoctorContext) -> Iterator[Finding]:
    """Check that each queue has a worker that answers; and count the hints that wait in it."""
    for queue in QUEUES:
        waiting = waiting_hints(bench.client, bench.settings.namespace, queue)
        said = f"{waiting} {'hint waits' if waiting == 1 else 'hints wait'}"
        serving = [name for name, taken in bench.workers.items() if queue in taken]
        if serving:
            workers = "1 worker answers" if len(serving) == 1 else f"{len(serving)} workers answer"
            yield Finding(f"queue {queue}", "ok", f"{workers}, {said}")
        else:
            yield Finding(
                f"queue {queue}",
                "error",
                f"no worker answers within {WORKERS_S:g} s, {said}",
                f"Start one: headrace worker {queue}. `headrace up` runs all three.",
            )
