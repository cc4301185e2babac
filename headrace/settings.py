"""Every environment variable of headrace: its name, its type, its default, and what it is for.

`Settings.load()` reads them once. A value that cannot be read raises `SettingsError`, which names the variable.
An empty variable counts as unset. Durations end in `_s` (seconds), sizes in `_mb` (MiB).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from headrace.errors import SettingsError
from headrace.text.masking import HIDDEN, masked
from headrace.text.quoting import quoted, shortened

DEFAULT_CACHE_MB = 64
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Secret = Annotated[str, Meta(min_length=16, pattern=r"^\S.*\S$")]
Address = Annotated[str, Meta(pattern=r"^([A-Za-z0-9.-]+:|\[[0-9A-Fa-f:]+\]:)?[0-9]{1,5}$")]
Origin = Annotated[str, Meta(pattern="^https?://[^/?#@]+$")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a process of headrace. Field `redis_url` is variable `HEADRACE_REDIS_URL`, and so on.

    What a field means is its `Meta.description`, of which the table in docs/operations.md is made.
    """

    redis_url: Annotated[
        str | None,
        Meta(
            description="address of the ledger's Redis or Valkey, which is the broker too; unset: that of the "
            "service found by the nearest `.headrace` folder"
        ),
    ] = None
    namespace: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_-]{1,40}$",
            description="hash tag that begins every key of the ledger, as in `{hr}:due`; services on one server need one each",
        ),
    ] = "hr"
    api: Annotated[
        str | None,
        Meta(
            description="address of a gateway: the SDK and the command line go through it, and need neither Redis nor the file "
            "store; the extra `http`"
        ),
    ] = None
    api_key: Annotated[str | None, Meta(description="token with which they call that gateway")] = None
    files: Annotated[
        str | None,
        Meta(
            description="file store: a folder, or `s3://bucket/prefix` (also `gs://`, `az://`; the extra `s3`); unset: `files` "
            "inside the state folder"
        ),
    ] = None
    strict: Annotated[
        bool, Meta(description="refuse a Redis that evicts keys or does not persist, instead of warning")
    ] = False
    calls: Annotated[Count, Meta(description="provider calls in flight at a time, per worker process")] = 256
    cache_ttl_s: Annotated[
        Positive, Meta(description="how long an answer is cached for those who ask the same again")
    ] = 86_400.0
    cache_url: Annotated[
        str | None,
        Meta(
            description="address of a Redis or Valkey of the answer cache's own, which may evict; unset: the ledger's"
        ),
    ] = None
    cache_mb: Annotated[
        Count | None,
        Meta(
            description="what all cached answers take in Redis at most, the oldest go first; unset: 64 in the ledger's, "
            "unbounded in one of its own",
        ),
    ] = None
    cache_tenant_mb: Annotated[
        int, Meta(ge=0, description="what the cached answers of one tenant take at most; 0: as much as all")
    ] = 0
    connect_timeout_s: Annotated[Positive, Meta(description="connecting to a provider, per call")] = 5.0
    first_token_timeout_s: Annotated[
        Positive, Meta(description="from the request to the first token of a streamed answer")
    ] = 60.0
    idle_timeout_s: Annotated[Positive, Meta(description="longest silence within a streamed answer")] = 60.0
    total_timeout_s: Annotated[Positive, Meta(description="a provider call as a whole")] = 600.0
    transport: Annotated[
        Literal["http", "sdk"],
        Meta(
            description="how providers are called: `http`, directly, or `sdk`, through the official OpenAI SDK, at several times "
            "the cost; both time out, fail and read answers alike"
        ),
    ] = "http"
    trust_env: Annotated[
        bool,
        Meta(
            description="with the transport `http`: call providers through the proxies of `HTTPS_PROXY` and `HTTP_PROXY` except "
            "those of `NO_PROXY`, and believe the certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR`"
        ),
    ] = False
    loop_limit_s: Annotated[
        Positive, Meta(description="a worker whose event loop is blocked for so long ends itself")
    ] = 120.0
    quarantine_processes: Annotated[
        Count, Meta(description="child processes of a quarantine worker, for suspects, at a time")
    ] = 8
    drain_s: Annotated[
        Positive,
        Meta(description="after SIGTERM: how long a worker lets calls in flight finish before it hands them back"),
    ] = 45.0
    min_free_mb: Annotated[int, Meta(ge=0, description="free disk below which no new work is claimed")] = 512
    providers: Annotated[
        str | None,
        Meta(
            description="further OpenAI-compatible providers: JSON, or the path of a JSON file ([providers](providers.md))"
        ),
    ] = None
    limits: Annotated[
        str | None,
        Meta(
            description="requests and tokens a minute and calls in flight, of all workers together, by provider or "
            "`provider/model`: JSON, or the path of a JSON file ([spend](spend.md#limits))"
        ),
    ] = None
    models: Annotated[
        str | None,
        Meta(
            description="aliases of models, and their fallbacks: JSON, or the path of a JSON file; read by whoever submits "
            "([providers](providers.md#aliases-and-fallbacks))"
        ),
    ] = None
    profiles: Annotated[
        str | None,
        Meta(
            description="path of a JSON file of prices and context lengths, which take precedence over the "
            "catalogue's ([providers](providers.md))"
        ),
    ] = None
    stream_secret: Annotated[
        Secret | None,
        Meta(
            description="key that signs stream tokens, the same for every gateway, 16 characters or more; "
            "`headrace up` makes one"
        ),
    ] = None
    stream_secret_file: Annotated[
        str | None, Meta(description="file that holds the secret instead; `headrace gateway` makes it if missing")
    ] = None
    gateway_open: Annotated[
        bool | None,
        Meta(description="accept callers without a token; unset: only when the gateway listens on loopback"),
    ] = None
    gateway_origins: Annotated[
        str, Meta(description="origins of other sites whose pages may use the gateway, separated by commas")
    ] = ""
    gateway_url: Annotated[
        Origin | None,
        Meta(description="origin at which callers reach the gateway; the URLs in its answers begin with it"),
    ] = None
    gateway_streams: Annotated[
        Count, Meta(description="streams and WebSockets open at a time, per gateway process")
    ] = 10_000
    gateway_subscriptions: Annotated[Count, Meta(description="jobs that one WebSocket may watch at a time")] = 100
    gateway_connections: Annotated[
        Count,
        Meta(
            description="connections open at a time, per gateway process; 128 of its file descriptors are always left"
        ),
    ] = 12_000
    gateway_head_s: Annotated[Positive, Meta(description="how long the headers of a request may take")] = 10.0
    gateway_body_s: Annotated[
        Positive,
        Meta(description="how long the body of a request may take, and one second more for each 16 KiB received"),
    ] = 20.0
    file_mb: Annotated[Count, Meta(description="largest file that is uploaded to `/v1/files`")] = 512
    files_total_mb: Annotated[
        Count, Meta(description="all uploaded files together; the output of batches does not count")
    ] = 10_240
    batch_lines: Annotated[Count, Meta(description="most lines of a batch that is created over HTTP")] = 1_000_000
    gateway_idle_s: Annotated[
        Positive, Meta(description="a WebSocket without a subscription is closed after so long")
    ] = 30.0
    join_s: Annotated[
        float,
        Meta(
            ge=0,
            description="an answer that its client left without is kept so long after its end for the next equal request, which "
            "then pays nothing; 0: never",
        ),
    ] = 900.0
    retention_s: Annotated[
        Positive, Meta(description="how long files of a batch stay after its end; those of an open one always do")
    ] = 2_592_000.0
    response_ttl_s: Annotated[
        float,
        Meta(
            gt=0,
            le=604_800,
            description="how long responses of the Responses API are kept in the file store; the same for gateways and workers",
        ),
    ] = 604_800.0
    heartbeat_s: Annotated[Positive, Meta(description="interval between heartbeats of a silent stream")] = 15.0
    slow_reader_s: Annotated[
        Positive, Meta(description="a viewer that reads nothing for so long is dropped; it may resume")
    ] = 20.0
    metrics: Annotated[
        Address | None,
        Meta(
            description="`port` or `host:port` of workers' `/metrics`; taken: the next free one of 32 ([metrics](metrics.md))"
        ),
    ] = None
    metrics_token: Annotated[Secret | None, Meta(description="token that whoever reads `/metrics` may send")] = None
    traces: Annotated[bool, Meta(description="send spans by OpenTelemetry ([metrics](metrics.md#traces))")] = False
    log_level: Annotated[
        str, Meta(description="least severe level that is logged: `debug`, `info`, `warning`, `error`")
    ] = "info"

    @property
    def cache_bytes(self) -> int:
        """Bytes of all cached answers at most; 0: unbounded."""
        mb = self.cache_mb or (DEFAULT_CACHE_MB if self.cache_url is None else 0)
        return mb << 20

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
            if "bool" in str(bare_type(field)):
                raw = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
                    str(raw).lower(), raw
                )
            values[field.name] = raw
            if field.name in ASCII_ONLY and not given[field.name].isascii():
                raise SettingsError(
                    f"{variable(field.name)}={quoted(given[field.name])}: must be a number or a word, in ASCII"
                )
        try:
            return msgspec.convert(values, cls, strict=False)
        except UnicodeEncodeError:  # half of a character in a text with a rule of its own
            wrong = next(name for name, value in given.items() if not is_utf8(value))
            raise SettingsError(f"{variable(wrong)}: is no UTF-8") from None
        except msgspec.ValidationError as error:
            where = str(error).rpartition("`$.")[2].rstrip("`")
            name = variable(where) if where in given else "HEADRACE_*"
            value = HIDDEN if where in SECRETS else quoted(masked(given.get(where, "")))
            why = str(error).partition(" - at")[0]
            if why.startswith("Invalid enum value"):  # it says the value again, as it is
                words = next(get_args(bare_type(field)) for field in msgspec.structs.fields(cls) if field.name == where)
                why = f"must be one of {', '.join(words)}"
            raise SettingsError(f"{name}={value}: {shortened(why)}") from None

    def __repr__(self) -> str:
        """Show all but the values of `SECRETS`, and addresses without passwords."""
        fields = (f"{name}={self._shown(name)}" for name in self.__struct_fields__)
        return f"Settings({', '.join(fields)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        return HIDDEN if name in SECRETS and value else repr(masked(value) if isinstance(value, str) else value)


SECRETS = frozenset({"stream_secret", "metrics_token"})
"""Fields whose values are never shown, not even when they cannot be used."""


def bare_type(field: msgspec.structs.FieldInfo) -> object:
    """Return the type of a field of `Settings`, without its constraints and its description."""
    return getattr(field.type, "__origin__", field.type)


def meaning(field: msgspec.structs.FieldInfo) -> str:
    """Return the description of a field of `Settings`, in one line; empty if it has none."""
    described = (each.description for each in getattr(field.type, "__metadata__", ()) if isinstance(each, Meta))
    return next((text for text in described if text), "")


ASCII_ONLY = frozenset(
    field.name for field in msgspec.structs.fields(Settings) if "str" not in str(bare_type(field))
) | {"gateway_url"}
"""Fields whose values are refused when they have other characters: numbers, words, and the name of a host."""


def is_utf8(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def variable(field: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    return f"HEADRACE_{field.upper()}"


def number_in(environ: Mapping[str, str] | None, variable: str, least: float) -> float | None:
    """Return the number in an environment variable; None when it is unset or empty. Raises `SettingsError` naming it."""
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
