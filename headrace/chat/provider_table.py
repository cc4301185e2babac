"""The table of providers: one row each.

A row says where a provider is, which variables say otherwise, how it names what we name differently, and what it does
not take. What a row cannot say is its dialect's `adapt` function in `headrace_providers`. Further OpenAI-compatible providers are
rows from the variable `HEADRACE_PROVIDERS` (`docs/providers.md`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from headrace.chat.call_limits import CallLimits
from headrace.errors import InputError, ModelNotFound, SettingsError
from headrace.guards.json_variable import json_of_variable
from headrace.schema.modes import Mode
from headrace.settings import variable
from headrace.text.masking import masked
from headrace.text.quoting import quoted, shortened
from headrace.text.readable import UNREADABLE

OPENAI_RANGES: dict[str, tuple[float | None, float | None]] = {
    "temperature": (0.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "top_logprobs": (0, 20),
    "n": (1, 128),
}
OF_VLLM = (
    *("min_p", "top_k", "repetition_penalty", "stop_token_ids", "structured_outputs", "chat_template_kwargs"),
    "priority",
)
OF_OPENROUTER = ("provider", "models", "plugins", "transforms", "usage", "reasoning")
PROXY_HEADERS = frozenset({"helicone-auth", "cf-aig-authorization"})
"""Headers of proxies in front of a provider: Helicone's and Cloudflare's gateways."""

OF_OTHERS: dict[str, Any] = {
    "history_beyond_openai": True,
    "reasoning_history": None,
    "choices": False,
    "prompt_cache_key": False,
}
"""Fields of the row of any OpenAI-compatible server: the fields of its answers are sent back to it unchanged, and not all know
`n`."""

StructuredOutput = Literal["response_format", "structured_outputs", "guided_json"]
Dialect = Literal["openai", "vllm", "openrouter"]


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider. The address is `base_url_variable`'s, else `base_url`; the key `key_variable`'s, else `default_key`.

    `dialect` names the `adapt` function; `renamed` maps our option names to the provider's; `unsupported` are options
    that are left out with a warning; `silent` those that are left out without one, because leaving them out changes
    nothing the caller asked for. `headers` go with every call. `prices` is the provider's name in the price catalogue.
    `ranges` are the bounds (both included, None for none) of its numbers, `max_stops` of its stop sequences, and
    `allowed_headers` (small letters) what `extra_headers` may hold there beside `checked_headers`' own list.
    `reasoning_history` are the names under which the reasoning of earlier turns goes back to it (None: as it stands in the
    conversation), `history_beyond_openai` whether these turns may hold what OpenAI does not know, such as signatures.
    `mode` is how schemas are put to its models, where that is not known of the model itself. `account_headers` says that
    `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` are meant for it. `choices`: one call gives as many as `n` says.
    `prompt_cache_key`: batches tell it the key of what their prompts begin with. `limits` hold where `HEADRACE_LIMITS`
    names none for it.
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
    ranges: dict[str, tuple[float | None, float | None]] = msgspec.field(default_factory=lambda: dict(OPENAI_RANGES))
    max_stops: int | None = 4
    allowed_headers: frozenset[str] = PROXY_HEADERS
    reasoning_history: tuple[str, ...] | None = None
    history_beyond_openai: bool = True
    structured_output: StructuredOutput = "response_format"
    mode: Mode | None = None
    prices: str | None = None
    account_headers: bool = False
    choices: bool = False
    prompt_cache_key: bool = False
    limits: CallLimits | None = None

    def __repr__(self) -> str:  # its address and its headers may hold a secret
        return f"Provider({self.name!r})"

    def address(self, environ: Mapping[str, str]) -> str | None:
        """Return the base URL, without a slash at its end; an empty variable counts as unset (conformance 24). It may
        have a query."""
        given = environ.get(self.base_url_variable) if self.base_url_variable else None
        return (given or self.base_url or "").rstrip("/") or None

    def given(self, environ: Mapping[str, str]) -> bool:
        """Return True if `environ` configures this provider: a default address alone does not mean that a server is there."""
        return any(environ.get(name) for name in (self.base_url_variable, self.key_variable) if name)

    def key(self, environ: Mapping[str, str]) -> str | None:
        return (environ.get(self.key_variable) if self.key_variable else None) or self.default_key

    def with_structured_output(self, mode: str) -> Provider:
        """Return the same provider with schemas sent in another way. Raises `InputError`."""
        if mode not in get_args(StructuredOutput):
            modes = ", ".join(get_args(StructuredOutput))
            raise InputError(f"structured_output_mode={quoted(mode)}: must be one of {modes}")
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
            unsupported=frozenset({"enable_thinking", "reasoning_max_tokens", *OF_VLLM, *OF_OPENROUTER}),
            allowed_headers=PROXY_HEADERS | {"api-key", "anthropic-beta"},  # Azure's; Anthropic's own endpoint
            reasoning_history=(),
            history_beyond_openai=False,
            prices="openai",
            account_headers=True,
            choices=True,
            prompt_cache_key=True,
        ),
        Provider(
            name="vllm",
            dialect="vllm",
            base_url="http://localhost:8000/v1",
            base_url_variable="VLLM_BASE_URL",
            key_variable="VLLM_API_KEY",
            default_key="vllm",
            # It accepts and ignores what it does not know, so sending these would only look like an answer (conformance D16).
            unsupported=frozenset(
                {
                    *("web_search_options", "verbosity", "modalities", "audio", "reasoning_max_tokens", "metadata"),
                    *("service_tier", "safety_identifier", "prediction", "store", *OF_OPENROUTER),
                }
            ),
            silent=frozenset({"prompt_cache_retention", "prompt_cache_key"}),
            reasoning_history=("reasoning", "reasoning_content"),  # since 0.12, and before
            ranges={},  # the server's own are wider than OpenAI's, and some are its settings (`--max-logprobs`)
            max_stops=None,
            allowed_headers=PROXY_HEADERS | {"api-key"},
            choices=True,
        ),
        Provider(
            name="openrouter",
            dialect="openrouter",
            base_url="https://openrouter.ai/api/v1",
            base_url_variable="OPENROUTER_BASE_URL",
            key_variable="OPENROUTER_API_KEY",
            unsupported=frozenset(
                {
                    "stop_token_ids",
                    "structured_outputs",
                    "chat_template_kwargs",
                    "priority",
                    "store",
                    "safety_identifier",
                }
            ),
            silent=frozenset({"prompt_cache_retention"}),
            reasoning_history=("reasoning",),
            ranges=OPENAI_RANGES | {"top_k": (0, None), "repetition_penalty": (0.0, 2.0)},
            allowed_headers=PROXY_HEADERS | {"anthropic-beta"},
            headers={
                "HTTP-Referer": "https://headrace.example",
                "X-OpenRouter-Title": "headrace",
                "X-Title": "headrace",
            },
            prices="openrouter",
            prompt_cache_key=True,
        ),
        # It takes `seed`, schemas and tools as OpenAI does; where it is, only its variable says.
        Provider(
            name="rehearsal",
            base_url_variable="REHEARSAL_BASE_URL",
            default_key="rehearsal",
            unsupported=frozenset({*OF_VLLM, *OF_OPENROUTER}),
            prompt_cache_key=True,
        ),
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
    ranges: dict[str, tuple[float | None, float | None]] | None = None
    max_stops: int | None = None
    allowed_headers: frozenset[str] | None = None
    reasoning_history: tuple[str, ...] | None = None
    history_beyond_openai: bool | None = None
    structured_output: StructuredOutput | None = None
    mode: Mode | None = None
    prices: str | None = None
    choices: bool | None = None
    prompt_cache_key: bool | None = None
    limits: CallLimits | None = None

    def __repr__(self) -> str:
        return f"Registration(base_url={masked(self.base_url)!r}, like={self.like!r})"

    def row(self, name: str) -> Provider:
        given = {field: value for field, value in msgspec.structs.asdict(self).items() if value is not None}
        like = PROVIDERS[given.pop("like")]
        if like.name == "openai" and not is_openai_endpoint(self.base_url):
            like = msgspec.structs.replace(like, **OF_OTHERS)
        fixed = {
            "name": name,
            "base_url_variable": self.base_url_variable,
            "key_variable": self.key_variable,
            "default_key": None if self.key_variable else "none",
            "account_headers": False,
        }
        return msgspec.structs.replace(like, **given | fixed)


def providers(environ: Mapping[str, str]) -> dict[str, Provider]:
    """Return the built-in rows and those of `HEADRACE_PROVIDERS`, which is JSON, or the path of a JSON file.

    Raises `SettingsError` naming the place of what cannot be used.
    """
    registered = environ.get(variable("providers"))
    if not registered:
        return PROVIDERS
    where, text = json_of_variable(variable("providers"), registered)
    try:
        given = msgspec.json.decode(text, type=dict[Annotated[str, Meta(pattern=NAME)], Registration])
    except UNREADABLE as error:
        raise SettingsError(f"{where}: {shortened(str(error))}") from None
    for name, registration in given.items():
        if registration.like not in PROVIDERS:
            raise SettingsError(f"{where}: /{name}/like: must be one of {', '.join(PROVIDERS)}")
        if name in PROVIDERS:
            raise SettingsError(f"{where}: /{name}: is a built-in provider; its address has a variable of its own")
    return PROVIDERS | {name: registration.row(name) for name, registration in given.items()}


def split_model(model: str, registered: Collection[str] = ()) -> tuple[str, str]:
    """Split `provider/model` at its first slash. Raises `ModelNotFound` naming the providers there are.

    `registered`: providers that workers have published beside the built-in ones.
    """
    provider, slash, name = model.partition("/")
    known = sorted({*PROVIDERS, *registered})
    if not slash or not name or provider not in known:
        raise ModelNotFound(
            f"model {quoted(model)}: write `provider/model`, where the provider is one of {', '.join(known)}"
            + ("" if slash else f"; for example `openai/{shortened(model)}`")
        )
    return provider, name


def is_openai_endpoint(base_url: str) -> bool:
    """Return True if an address is OpenAI's own, or Azure's for its models."""
    host = urlsplit(base_url).hostname or ""
    return host.endswith((".openai.com", ".openai.azure.com"))


def is_openai_vendor(model_id: str) -> bool:
    """Return True if an OpenRouter slug is one of OpenAI's own: by vendor, never by a part of its name (conformance 42)."""
    return re.match(r"~?openai/", model_id) is not None


def checked_headers(headers: Mapping[str, Any] | None, provider: Provider | None = None) -> dict[str, str]:
    """Validate the caller's own headers; for a `provider` that is not known here, those that any built-in one takes are
    allowed. Raises `InputError` for a reserved header: framing, and the provider's credential."""
    rows = PROVIDERS.values() if provider is None else (provider,)
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise InputError(f"extra_headers: {quoted(name)} must be a name and a text of printable ASCII characters")
        listed = any(name.lower() in row.allowed_headers for row in rows)
        if not listed and (not ALLOWED_HEADER.fullmatch(name) or RESERVED_HEADER.fullmatch(name)):
            own = sorted({header for row in rows for header in row.allowed_headers})
            raise InputError(
                f"extra_headers: {quoted(name)} is not allowed; allowed are X-…, HTTP-Referer, OpenAI-Beta, traceparent, "
                f"tracestate{''.join(f', {header}' for header in own)}. Keys belong to the provider's settings."
            )
    return dict(headers or {})


def endpoint(base_url: str, path: str) -> str:
    """Return the URL of `path` (`/chat/completions`) under a base URL, whose query stays at the end."""
    address, mark, query = base_url.partition("?")
    return f"{address.rstrip('/')}{path}{mark}{query}"


ALLOWED_HEADER = re.compile(r"x-[a-z0-9-]+|http-referer|openai-beta|traceparent|tracestate", re.IGNORECASE)
RESERVED_HEADER = re.compile(
    r"x-(client-request-id|api-key|forwarded.*|real-ip|stainless-.*|http-method.*)", re.IGNORECASE
)
