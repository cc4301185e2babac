"""The checks of `headrace doctor`. Each looks at one thing, changes nothing, and says what to do.

`findings()` runs `CHECKS` in order. A check that needs Redis is skipped when Redis does not answer. No finding holds a
credential: URLs are shown by `masked`, and a provider's key is never part of a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from headrace.doctor.access import access
from headrace.doctor.context import DoctorContext, Finding
from headrace.doctor.endpoints import providers
from headrace.doctor.limits import limits
from headrace.doctor.machine import disk, extras, file_store, python
from headrace.doctor.server import (
    clock,
    eviction,
    persistence,
    queues,
    redis_answers,
    rejections,
    server_version,
    service,
)
from headrace.errors import HeadraceError, SettingsError, UntrustedFile
from headrace.settings import Settings
from headrace.text.masking import masked


class Check(NamedTuple):
    """One check, the name it has when it is skipped, and whether it asks Redis."""

    name: str
    look: Callable[[DoctorContext], Finding | Iterator[Finding]]
    needs_redis: bool = True


CHECKS = (
    Check("python", python, needs_redis=False),
    Check("extras", extras, needs_redis=False),
    Check("service", service, needs_redis=False),
    Check("redis", redis_answers),
    Check("access", access),
    Check("server version", server_version),
    Check("persistence", persistence),
    Check("eviction", eviction),
    Check("clock", clock),
    Check("disk", disk, needs_redis=False),
    Check("file store", file_store),
    Check("providers", providers, needs_redis=False),
    Check("limits", limits),
    Check("queues", queues),
    Check("set aside", rejections),
)


def findings(environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Run all checks, in order, and yield what they see. `environ`: default the process's own."""
    env = os.environ if environ is None else environ
    try:
        settings = Settings.load(env)
    except SettingsError as error:
        yield Finding("settings", "error", masked(str(error)), "Correct the variable; docs/operations.md lists all.")
        return
    bench = DoctorContext(settings, env)
    for check in CHECKS:
        yield from run(check, bench)


def run(check: Check, bench: DoctorContext) -> Iterator[Finding]:
    """Yield what `check` sees; `skipped` when it needs Redis and Redis does not answer."""
    from redis.exceptions import RedisError

    if check.needs_redis and bench.unreachable:
        yield Finding(check.name, "skipped", "Redis is not reachable", "See `service` and `redis`.")
        return
    try:
        seen = check.look(bench)
        yield from [seen] if isinstance(seen, Finding) else seen
    except UntrustedFile as error:
        yield Finding(check.name, "error", str(error), "See `service`.")
    except (RedisError, OSError, HeadraceError, msgspec.MsgspecError) as error:
        # Not its text: an error of the server may quote what was sent to it.
        yield Finding(
            check.name,
            "error",
            f"could not look: {type(error).__name__}",
            "Look again; the server's log may tell more.",
        )


def exit_code(found: list[Finding]) -> int:
    """Return 0 for no error, 1 for an error, 3 when Redis is not reachable."""
    wrong = {finding.name for finding in found if finding.status == "error"}
    if wrong & {"service", "redis"}:
        return 3
    return 1 if wrong else 0
