"""The options of a completion, and every rule about them that is checked before a request is sent."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from headrace.chat.provider_table import Provider, checked_headers
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.errors import InputError
from headrace.text.masking import HIDDEN
from headrace.text.quoting import quoted, shortened

Modality = Literal["text", "audio", "image"]
RESERVED_KEYS = ("model", "messages", "stream", "stream_options")
MAX_NESTING = 64


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options in OpenAI's names. None means "not set": nothing is sent for it, while 0, False and `{}` are values. Unknown
    names are refused; what a provider has beyond these goes into `extra_body`.

    The bounds here are those of every provider; its own are in its row of the table (`headrace.chat.provider_table`), and so
    are the options that it does not take, which are left out with a warning.
    """

    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=-1)] | None = None
    reasoning_effort: str | None = None
    reasoning_max_tokens: Annotated[int, Meta(ge=1)] | None = None
    enable_thinking: bool | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Modality] | None = None
    audio: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    web_search_options: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    user: str | None = None
    # vLLM's
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    stop_token_ids: list[int] | None = None
    structured_outputs: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    priority: int | None = None
    # OpenRouter's
    provider: dict[str, Any] | None = None
    models: list[str] | None = None
    plugins: list[dict[str, Any]] | None = None
    transforms: list[str] | None = None
    usage: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    # What is not named above
    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None

    def __repr__(self) -> str:
        """Show the options that are set; of the headers the names alone: some hold a credential."""
        given = set_in(self)
        if self.extra_headers:
            given["extra_headers"] = dict.fromkeys(self.extra_headers, HIDDEN)
        return f"Options({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def wire(self) -> dict[str, Any]:
        """Return the options that are set, as body fields under OpenAI's names. `extra_body` and `extra_headers` are
        not among them, and `parallel_tool_calls` only ever travels beside tools."""
        return {name: value for name in WIRE if (value := getattr(self, name)) is not None}


WIRE = tuple(
    field for field in Options.__struct_fields__ if field not in {"extra_body", "extra_headers", "parallel_tool_calls"}
)


COMPATIBLE = frozenset(WIRE) - {
    *("min_p", "top_k", "repetition_penalty", "stop_token_ids", "structured_outputs", "chat_template_kwargs"),
    *("priority", "provider", "models", "plugins", "transforms", "usage", "reasoning"),
}
"""The options that OpenAI's API has a field for, and those that have one in headrace alone."""


def parse_options(params: Mapping[str, Any], provider: Provider | None = None) -> Options:
    """Parse options from the caller's arguments; empty texts and lists count as not set, but for `transforms`, where
    none is a choice. Raises `InputError` naming the option that is unknown or out of range, and what is allowed: for
    `provider`, where it is known."""
    kept = {
        name: value
        for name, value in params.items()
        if name == "transforms" or not (value in ("", []) and isinstance(value, str | list))
    }
    if isinstance(bias := kept.get("logit_bias"), Mapping):  # token ids are whole numbers, and JSON has no such keys
        kept["logit_bias"] = {str(key) if type(key) is int else key: value for key, value in bias.items()}
    try:
        options = msgspec.convert(kept, Options, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(Options.__struct_fields__)
        raise InputError(
            f"option refused: {shortened(str(error))}. Known options: {known}; a provider's own go into `extra_body`"
        ) from None
    check_options(options)
    if provider is not None:
        check_for(options, provider)
    else:
        checked_headers(options.extra_headers)
    # What the caller does to theirs afterwards is not what they asked for.
    own = {name: copy.deepcopy(value) for name in OBJECTS if (value := getattr(options, name)) is not None}
    return msgspec.structs.replace(options, **own) if own else options


def check_options(options: Options) -> None:
    """Check the rules between options. Raises `InputError`."""
    if options.top_logprobs is not None and options.logprobs is not True:
        raise InputError("option `top_logprobs` needs `logprobs=True`")
    if options.modalities and "audio" in options.modalities and options.audio is None:
        raise InputError('option `modalities` with "audio" needs `audio={"voice": …, "format": …}`')
    check_reserved_fields(options.extra_body or {}, "option `extra_body`: ")
    for key in RESERVED_KEYS:
        if key in (options.extra_body or {}):
            raise InputError(f"option `extra_body` may not hold `{key}`: it has an argument of its own")
    for name in (*OBJECTS, *NUMBERS):
        value = getattr(options, name)
        if value is None:
            continue
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"option `{name}` cannot be written as JSON: {error}") from None


def check_for(options: Options, provider: Provider) -> None:
    """Check the rules of one provider: its ranges, its headers, and what excludes each other there. Raises `InputError`."""
    checked_headers(options.extra_headers, provider)
    for name, (low, high) in provider.ranges.items():
        value = getattr(options, name)
        if value is not None and not (low is None or value >= low) & (high is None or value <= high):
            bounds = (
                f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
            )
            raise InputError(f"option `{name}`={quoted(value)}: {provider.name} takes {bounds}")
    stops = options.stop if isinstance(options.stop, list) else ()
    if provider.max_stops is not None and len(stops) > provider.max_stops:
        raise InputError(
            f"option `stop`: {provider.name} takes at most {provider.max_stops} sequences, got {len(stops)}"
        )
    if provider.dialect != "openrouter":
        return
    effort, budget = options.reasoning_effort is not None, options.reasoning_max_tokens is not None
    for own in (options.reasoning, (options.extra_body or {}).get("reasoning")):
        own = own if isinstance(own, dict) else {}
        effort, budget = effort or own.get("effort") is not None, budget or own.get("max_tokens") is not None
    if effort and budget:
        raise InputError(
            f"option `reasoning_effort`: {provider.name} takes it or `reasoning_max_tokens`; give one of them, not both"
        )


MAX_CHOICES = 8
"""Choices of a job that are calls of their own."""


def check_beside_schema(options: Options, *, choices: int = 1) -> None:
    """Raise `InputError` for options that contradict a schema; `choices` are the most that are checked by it."""
    if choices > 1 and not 1 <= (options.n or 1) <= choices:
        raise InputError(f"option `n`={options.n}: with a schema there are {choices} choices at most")
    asked = None if choices > 1 else options.n
    for where, n in (("option `n`", asked), ("option `extra_body`: n", (options.extra_body or {}).get("n"))):
        if n not in (None, 1):
            raise InputError(
                f"{where}={quoted(n, 40)}: with a schema there is one choice, the one that is checked by it"
            )
    if options.structured_outputs is not None or (options.extra_body or {}).get("structured_outputs") is not None:
        raise InputError("option `structured_outputs`: the answer is held to `schema`; leave one of the two out")


def merged(under: Mapping[str, Any], over: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Merge both objects, key by key at every level; where they differ, the value of `over` is taken. Neither is changed."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and depth < MAX_NESTING:
            value = merged(below, value, depth + 1)
        both[key] = value
    return both


def set_in(options: Options) -> dict[str, Any]:
    return {name: value for name in Options.__struct_fields__ if (value := getattr(options, name)) is not None}


def laid_over(under: Options, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `under` with `given` over them: what `given` says, by whichever name, is what counts.

    Its `extra_body` is merged over what is under it at every level: over `extra_body` and, for what `given` does not name
    itself, over named options, objects (plug-ins by their `id`) and those that a provider knows as a key of an object. What it
    names comes over the same key of the `extra_body` under it.
    """
    both = {**set_in(under), **given}
    limit = ONE_LIMIT if given.get("max_tokens") is not None else frozenset[str]()
    named = {name for name, value in given.items() if value is not None and not isinstance(value, dict)} | limit
    below = {name: value for name, value in (under.extra_body or {}).items() if name not in named}
    extra = given.get("extra_body")
    over: Mapping[str, Any] = extra if isinstance(extra, dict) else {}
    if over:
        plugins = below.get("plugins")
        below = merged(below, over)
        if isinstance(plugins, list) and isinstance(over.get("plugins"), list):
            below["plugins"] = merged_plugins(plugins, over["plugins"])
    for name, value in over.items():
        ours = getattr(under, name, None) if name in OBJECTS and name not in given else None
        if name == "structured_outputs" and ours is not None:
            both[name] = None  # it holds one kind of constraint, and never two
        elif isinstance(ours, dict) and isinstance(value, dict):
            both[name] = merged(ours, value)
        elif name == "plugins" and isinstance(ours, list) and isinstance(value, list):
            both[name] = merged_plugins(ours, value)
    web = next((plugin for said in (over, given) for plugin in plugins_of(said) if plugin.get("id") == "web"), None)
    if web and "web_search_options" not in given and under.web_search_options is not None:
        both["web_search_options"] = {key: own for key, own in under.web_search_options.items() if key not in web}
    for option, (name, key) in OTHER_NAMES:
        said = [value for value in (given.get(name), over.get(name)) if isinstance(value, dict) and key in value]
        if option not in given and option in both and (said or option in over):
            both[option] = None if option in over or name in over else said[0][key]
        if option in over and not said and isinstance(both.get(name), dict):
            both[name] = {own: value for own, value in both[name].items() if own != key} or None
    if extra is None or isinstance(extra, dict):  # anything else is refused by whoever reads the options
        both["extra_body"] = below or None
    return both


def plugins_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    plugins = said.get("plugins")
    return [plugin for plugin in plugins if isinstance(plugin, dict)] if isinstance(plugins, list) else []


def merged_plugins(under: list[Any], over: list[Any]) -> list[Any]:
    """Merge the plug-ins of both lists; of those with one `id`, the keys of all, where they differ those of the last."""
    both: list[Any] = []
    for plugin in (*under, *over):
        id = plugin.get("id") if isinstance(plugin, dict) else None
        same = next((each for each in both if isinstance(each, dict) and each.get("id") == id), None)
        if same is None or id is None:
            both.append(dict(plugin) if isinstance(plugin, dict) else plugin)
        else:
            same |= plugin
    return both


OTHER_NAMES = (
    ("reasoning_effort", ("reasoning", "effort")),
    ("reasoning_max_tokens", ("reasoning", "max_tokens")),
    ("enable_thinking", ("reasoning", "enabled")),
    ("enable_thinking", ("chat_template_kwargs", "enable_thinking")),
)
"""Options, and the objects and keys under which OpenRouter and vLLM know them: `extra_body` may name them so."""
ONE_LIMIT = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one option."""
OBJECTS = (
    *("extra_body", "audio", "web_search_options", "logit_bias", "metadata", "prediction", "structured_outputs"),
    *("chat_template_kwargs", "provider", "plugins", "usage", "reasoning"),
)
"""Options that are objects."""
NUMBERS = ("temperature", "presence_penalty", "frequency_penalty", "repetition_penalty")
"""Options that JSON could not hold if they were infinite."""


class OptionParams(TypedDict, total=False):
    """The options as keywords, so that an editor completes them: `submit(model, messages, temperature=0)`."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: str | list[str]
    seed: int
    n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[str, float] | Mapping[int, float]
    logprobs: bool
    top_logprobs: int
    reasoning_effort: str
    reasoning_max_tokens: int
    enable_thinking: bool
    parallel_tool_calls: bool
    modalities: list[Modality]
    audio: dict[str, Any]
    verbosity: Literal["low", "medium", "high", "xhigh", "max"]
    web_search_options: dict[str, Any]
    prediction: dict[str, Any]
    prompt_cache_retention: Literal["in_memory", "24h"]
    prompt_cache_key: str
    service_tier: str
    metadata: dict[str, str]
    store: bool
    safety_identifier: str
    user: str
    min_p: float
    top_k: int
    repetition_penalty: float
    stop_token_ids: list[int]
    structured_outputs: dict[str, Any]
    chat_template_kwargs: dict[str, Any]
    priority: int
    provider: dict[str, Any]
    models: list[str]
    plugins: list[dict[str, Any]]
    transforms: list[str]
    usage: dict[str, Any]
    reasoning: dict[str, Any]
    extra_body: dict[str, Any]
    extra_headers: dict[str, str]
