"""Every environment variable of headrace: its name, its type, its default, and what it is for.

`Settings.load()` reads them once. A value that cannot be read raises `SettingsError`, which names the variable.
An empty variable counts as unset. Durations end in `_s` (seconds), sizes in `_mb` (MiB).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from headrace.errors import SettingsError, Unreachable, UntrustedFile
from headrace.guards.ownership import check_trusted, read_trusted
from headrace.text.masking import HIDDEN, masked
from headrace.text.quoting import quoted, shortened

STATE_FOLDER = ".headrace"
READY_FILE = "up.json"
REMEDY = (
    f"remove it, make a folder of your own nearer to your work (`mkdir -m 700 {STATE_FOLDER}`), or name the service and its "
    "files (HEADRACE_REDIS_URL, HEADRACE_FILES)."
)

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Secret = Annotated[str, Meta(min_length=16, pattern=r"^\S.*\S$")]
Origin = Annotated[str, Meta(pattern="^https?://[^/?#@]+$")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a process of headrace. Field `redis_url` is variable `HEADRACE_REDIS_URL`, and so on."""

    redis_url: str | None = None  # the ledger's server and the broker; unset: the nearest `.headrace` folder's server
    namespace: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,40}$")] = "hr"  # the one tag of every key: `{hr}`
    files: str | None = None  # folder of the file store; unset: `files` inside the state folder
    strict: bool = False  # refuse a server that evicts or does not persist, instead of warning
    calls: Count = 256  # provider calls in flight, per worker process
    cache_ttl_s: Positive = 86_400.0  # how long an answer is kept for those who ask the same with `cache`
    connect_timeout_s: Positive = 5.0
    first_token_timeout_s: Positive = 60.0
    idle_timeout_s: Positive = 60.0
    total_timeout_s: Positive = 600.0
    loop_limit_s: Positive = 120.0  # a worker whose loop does not turn for so long ends itself
    quarantine_processes: Count = 8  # child processes of a quarantine worker, for suspects, at a time
    drain_s: Positive = 45.0  # after SIGTERM: how long a worker lets running calls finish before it hands them back
    min_free_mb: Annotated[int, Meta(ge=0)] = 512  # free disk below which no new work is claimed
    providers: str | None = None  # further OpenAI-compatible providers: JSON, or the path of a JSON file (providers.md)
    profiles: str | None = (
        None  # path of a JSON file of prices and context lengths, before the catalogue's (providers.md)
    )
    stream_secret: Annotated[str, Meta(min_length=16, pattern=r"^\S.*\S$")] | None = (
        None  # signs stream tokens; `headrace up` makes one
    )
    stream_secret_file: str | None = None  # a file with it instead; `headrace gateway` makes it if missing
    gateway_open: bool | None = None  # take callers without a token; unset: only when the gateway listens on loopback
    gateway_origins: str = ""  # origins of other sites whose pages may use the gateway, with commas between
    gateway_url: Origin | None = None  # where its callers reach the gateway: what the urls in answers begin with
    gateway_streams: Count = 10_000  # streams and WebSockets open at a time, per gateway process
    gateway_subscriptions: Count = 100  # jobs that one WebSocket may watch at a time
    gateway_connections: Count = 12_000  # open at a time, per gateway process; 128 of its descriptors are always left
    gateway_head_s: Positive = 10.0  # how long the headers of a request may take
    gateway_body_s: Positive = 20.0  # how long its body may take, and a second more for each 16 KiB that have come
    gateway_idle_s: Positive = 30.0  # a WebSocket that watches nothing is closed after so long
    heartbeat_s: Positive = 15.0  # a stream that is silent says so that often
    slow_reader_s: Positive = 20.0  # a viewer that takes nothing for so long is dropped; it may resume
    log_level: str = "info"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `HEADRACE_*` from `environ` (default: the process's own). Raises `SettingsError` naming a bad variable."""
        env = os.environ if environ is None else environ
        given = {f.name: env[name] for f in msgspec.structs.fields(cls) if env.get(name := variable(f.name))}
        values: dict[str, object] = {}
        for field in msgspec.structs.fields(cls):
            if field.name not in given:
                continue
            raw: object = given[field.name]
            if "bool" in str(field.type):
                raw = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
                    str(raw).lower(), raw
                )
            values[field.name] = raw
        for name, value in given.items():
            if "str" not in str(cls.__annotations__[name]) and not value.isascii():
                raise SettingsError(f"{variable(name)}={quoted(value)}: must be a number or a word, in ASCII")
        try:
            return msgspec.convert(values, cls, strict=False)
        except UnicodeEncodeError:  # half of a character in a text with a rule of its own
            wrong = next(name for name, value in given.items() if not is_utf8(value))
            raise SettingsError(f"{variable(wrong)}: is no UTF-8") from None
        except msgspec.ValidationError as error:
            where = str(error).rpartition("`$.")[2].rstrip("`")
            name = variable(where) if where in given else "HEADRACE_*"
            value = HIDDEN if where in SECRETS else quoted(masked(given.get(where, "")))
            raise SettingsError(f"{name}={value}: {shortened(str(error).partition(' - at')[0])}") from None

    def __repr__(self) -> str:
        """Without the values of `SECRETS`, and without passwords in addresses."""
        fields = (f"{name}={self._shown(name)}" for name in self.__struct_fields__)
        return f"Settings({', '.join(fields)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        return HIDDEN if name in SECRETS and value else repr(masked(value) if isinstance(value, str) else value)


SECRETS = frozenset({"stream_secret"})
"""Fields whose values are never shown, not even when they cannot be used."""


def is_utf8(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    return f"HEADRACE_{field.upper()}"


def number_in(environ: Mapping[str, str] | None, variable: str, least: float) -> float | None:
    """The number in an environment variable; None when it is unset or empty. Raises `SettingsError` naming it."""
    text = (os.environ if environ is None else environ).get(variable, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number < float("inf"):
        raise SettingsError(f"{variable}={quoted(text)}: must be a number, {least:g} or more")
    return number


class Ready(msgspec.Struct, frozen=True):
    """The content of `up.json` about a running `headrace up`; it holds more, which nobody but people reads there."""

    pid: Annotated[int, Meta(ge=1)]  # 0 and less would name groups of processes
    redis: Annotated[str, Meta(pattern="^(redis|rediss|unix)://")]
    embedded: bool = False  # the server is its own, on a socket in a folder of its own


def find_state_folder(start: Path | None = None, *, to_mend: bool = False) -> Path | None:
    """The nearest `.headrace` folder at or above `start` (default: the current folder), or None. `to_mend`: whoever asks looks
    at its owner and its mode, and puts them right.

    Raises `UntrustedFile` when that is another user's, or open to others: prompts would go where it says. Walking on past it
    would find another service than the one that is meant.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        state = folder / STATE_FOLDER
        try:
            if not state.is_dir():
                continue
        except PermissionError:
            continue  # what is in there is not for us either
        if not to_mend:
            check_trusted(state, remedy=REMEDY)
        return state
    return None


def read_ready(state: Path) -> Ready | None:
    """Return what `headrace up` left in `state`, or None when it runs no longer (or never did).

    Raises `UntrustedFile` when somebody else may have written it, or holds the socket that it names.
    """
    file = state / READY_FILE
    try:
        text = read_trusted(file, remedy=REMEDY)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedFile(f"{file} is a symbolic link, so it is not used: {REMEDY}") from None
        return None
    try:
        ready = msgspec.json.decode(text, type=Ready)
        os.kill(ready.pid, 0)
    except (OSError, OverflowError, msgspec.DecodeError):
        return None
    if ready.embedded:
        # Left behind in a folder of temporary files that was cleaned since, its name is free for anybody.
        socket = Path(urlsplit(ready.redis).path)
        try:
            check_trusted(socket.parent, remedy=REMEDY)
            check_trusted(socket, remedy=REMEDY)
        except OSError:
            return None
    return ready


def redis_url(settings: Settings) -> str:
    """Where the service is: `HEADRACE_REDIS_URL`, else the nearest `.headrace` folder. Raises `Unreachable`."""
    if settings.redis_url:
        return settings.redis_url
    state = find_state_folder()
    ready = read_ready(state) if state else None
    if ready is None:
        where = f"{state} is there, but nothing runs on it" if state else f"no {STATE_FOLDER} folder here or above"
        raise Unreachable(
            f"headrace is not running: HEADRACE_REDIS_URL is not set, and {where}. Start it: `headrace up`."
        )
    return ready.redis
