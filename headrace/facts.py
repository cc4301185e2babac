"""What headrace knows of providers: one row each, no branch elsewhere.

A row says where a provider is, which variables say otherwise, how it names what we name differently, and what it does
not take. What a row cannot say is its dialect's `adapt` function in the worker. Further OpenAI-compatible providers are
rows from the variable `HEADRACE_PROVIDERS` (`docs/providers.md`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from headrace.errors import InputError, SettingsError
from headrace.schema.modes import Mode
from headrace.settings import variable

StructuredOutput = Literal["response_format", "structured_outputs", "guided_json"]
Dialect = Literal["openai", "vllm", "openrouter"]


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider. The address is `base_url_variable`'s, else `base_url`; the key `key_variable`'s, else `default_key`.

    `dialect` names the `adapt` function; `renamed` maps our option names to the provider's; `unsupported` are options
    that are left out with a warning; `silent` those that are left out without one, because leaving them out changes
    nothing the caller asked for. `headers` go with every call. `prices` is the provider's name in the price catalogue.
    `mode` is how schemas are put to its models, where that is not known of the model itself. `account_headers`
    says that `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` are meant for it.
    """

    name: str
    dialect: Dialect = "openai"
    base_url: str | None = None
    base_url_variable: str | None = None
    key_variable: str | None = None
    default_key: str | None = None
    renamed: dict[str, str] = {}
    unsupported: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    headers: dict[str, str] = {}
    structured_output: StructuredOutput = "response_format"
    mode: Mode | None = None
    prices: str | None = None
    account_headers: bool = False

    def address(self, environ: Mapping[str, str]) -> str | None:
        """The base URL, without a slash at its end; an empty variable counts as unset (statement 24)."""
        given = environ.get(self.base_url_variable) if self.base_url_variable else None
        return (given or self.base_url or "").rstrip("/") or None

    def given(self, environ: Mapping[str, str]) -> bool:
        """Whether `environ` speaks of it: a default address alone does not mean that anybody is there."""
        return any(environ.get(name) for name in (self.base_url_variable, self.key_variable) if name)

    def key(self, environ: Mapping[str, str]) -> str | None:
        return (environ.get(self.key_variable) if self.key_variable else None) or self.default_key

    def with_structured_output(self, mode: str) -> Provider:
        """The same provider with schemas sent in another way. Raises `InputError`."""
        if mode not in get_args(StructuredOutput):
            modes = ", ".join(get_args(StructuredOutput))
            raise InputError(f"structured_output_mode={mode!r}: must be one of {modes}")
        return msgspec.structs.replace(self, structured_output=mode)


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider(
            name="openai",
            base_url="https://api.openai.com/v1",
            base_url_variable="OPENAI_BASE_URL",
            key_variable="OPENAI_API_KEY",
            renamed={"max_tokens": "max_completion_tokens"},  # deprecated there (openai 3.54 type stubs)
            unsupported=frozenset({"enable_thinking", "reasoning_max_tokens"}),
            prices="openai",
            account_headers=True,
        ),
        Provider(
            name="vllm",
            dialect="vllm",
            base_url="http://localhost:8000/v1",
            base_url_variable="VLLM_BASE_URL",
            key_variable="VLLM_API_KEY",
            default_key="vllm",
            # It accepts and ignores what it does not know, so sending these would only look like an answer (D16).
            unsupported=frozenset({"web_search_options", "verbosity", "modalities", "audio", "reasoning_max_tokens"}),
            silent=frozenset({"prompt_cache_retention"}),
        ),
        Provider(
            name="openrouter",
            dialect="openrouter",
            base_url="https://openrouter.ai/api/v1",
            base_url_variable="OPENROUTER_BASE_URL",
            key_variable="OPENROUTER_API_KEY",
            silent=frozenset({"prompt_cache_retention"}),
            headers={
                "HTTP-Referer": "https://headrace.example",
                "X-OpenRouter-Title": "headrace",
                "X-Title": "headrace",
            },
            prices="openrouter",
        ),
        # It takes `seed`, schemas and tools as OpenAI does; where it is, only its variable says.
        Provider(name="rehearsal", base_url_variable="REHEARSAL_BASE_URL", default_key="rehearsal"),
    )
}

NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider in `HEADRACE_PROVIDERS`: the row `like`, with what is named here instead.

    The key itself stays in the variable `key_variable`; without one the provider is called with the key `none`.
    """

    base_url: Annotated[str, Meta(pattern="^https?://[^/]")]
    like: str = "openai"
    key_variable: Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]*$")] | None = None
    base_url_variable: str | None = None
    renamed: dict[str, str] | None = None
    unsupported: frozenset[str] | None = None
    headers: dict[str, str] | None = None
    structured_output: StructuredOutput | None = None
    mode: Mode | None = None
    prices: str | None = None

    def row(self, name: str) -> Provider:
        given = {field: value for field, value in msgspec.structs.asdict(self).items() if value is not None}
        like = PROVIDERS[given.pop("like")]
        fixed = {
            "name": name,
            "base_url_variable": self.base_url_variable,
            "key_variable": self.key_variable,
            "default_key": None if self.key_variable else "none",
            "account_headers": False,
        }
        return msgspec.structs.replace(like, **given | fixed)


def providers(environ: Mapping[str, str]) -> dict[str, Provider]:
    """The built-in rows and those of `HEADRACE_PROVIDERS`, which is JSON, or the path of a JSON file.

    Raises `SettingsError` naming the place of what cannot be used.
    """
    registered = environ.get(variable("providers"))
    if not registered:
        return PROVIDERS
    where, text = variable("providers"), registered.encode()
    if not registered.lstrip().startswith("{"):
        where = f"{where} ({registered})"
        try:
            text = Path(registered).read_bytes()
        except OSError as error:
            raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    try:
        given = msgspec.json.decode(text, type=dict[Annotated[str, Meta(pattern=NAME)], Registration])
    except (msgspec.DecodeError, RecursionError) as error:
        raise SettingsError(f"{where}: {error}") from None
    for name, registration in given.items():
        if registration.like not in PROVIDERS:
            raise SettingsError(f"{where}: /{name}/like: must be one of {', '.join(PROVIDERS)}")
        if name in PROVIDERS:
            raise SettingsError(f"{where}: /{name}: is a built-in provider; its address has a variable of its own")
    return PROVIDERS | {name: registration.row(name) for name, registration in given.items()}


def split_model(model: str, registered: Collection[str] = ()) -> tuple[str, str]:
    """`provider/model` at its first slash. Raises `InputError` naming the providers there are.

    `registered`: providers that workers have published beside the built-in ones.
    """
    provider, slash, name = model.partition("/")
    known = sorted({*PROVIDERS, *registered})
    if not slash or not name or provider not in known:
        raise InputError(
            f"model {model!r}: write `provider/model`, where the provider is one of {', '.join(known)}"
            + ("" if slash else f"; for example `openai/{model}`")
        )
    return provider, name


def is_openai_vendor(model_id: str) -> bool:
    """Whether an OpenRouter slug is one of OpenAI's own models (statement 42): by vendor, never by a part of the name."""
    return re.match(r"~?openai/", model_id) is not None


def checked_headers(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """The caller's own headers. Raises `InputError` for one that is not allowed: credentials and framing are not theirs."""
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise InputError(f"extra_headers: {name!r} must be a name and a text of printable ASCII characters")
        if not ALLOWED_HEADER.fullmatch(name) or RESERVED_HEADER.fullmatch(name):
            raise InputError(
                f"extra_headers: {name!r} is not allowed; allowed are X-…, HTTP-Referer, OpenAI-Beta, traceparent and "
                "tracestate. Keys belong to the provider's settings."
            )
    return dict(headers or {})


ALLOWED_HEADER = re.compile(r"x-[a-z0-9-]+|http-referer|openai-beta|traceparent|tracestate", re.IGNORECASE)
RESERVED_HEADER = re.compile(
    r"x-(client-request-id|api-key|forwarded.*|real-ip|stainless-.*|http-method.*)", re.IGNORECASE
)
