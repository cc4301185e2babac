"""The options of a completion, and every rule about them that is checked before a byte is sent."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from headrace.errors import InputError
from headrace.facts import Provider, checked_headers

Modality = Literal["text", "audio", "image"]
RESERVED_KEYS = ("model", "messages", "stream", "stream_options")
MOST_STOPS = 4


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options in OpenAI's names. None means "not set": nothing is sent for it, while 0, False and `{}` are values
    (providers 1.3 and 1.5). Unknown names are refused; what a provider has beyond these goes into `extra_body`.

    `reasoning_max_tokens` (OpenRouter) and `enable_thinking` (vLLM, OpenRouter) are left out with a warning elsewhere.
    """

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    reasoning_max_tokens: Annotated[int, Meta(ge=1)] | None = None
    enable_thinking: bool | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Modality] | None = None
    audio: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    web_search_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    user: str | None = None
    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None

    def wire(self) -> dict[str, Any]:
        """The options that are set, as body fields under OpenAI's names. `extra_body` and `extra_headers` are not among
        them, and `parallel_tool_calls` only ever travels beside tools."""
        return {name: value for name in WIRE if (value := getattr(self, name)) is not None}


WIRE = tuple(
    field for field in Options.__struct_fields__ if field not in {"extra_body", "extra_headers", "parallel_tool_calls"}
)


def parse_options(given: Mapping[str, Any]) -> Options:
    """Options from the caller's words; empty texts and lists count as not set. Raises `InputError` naming the option that
    is unknown or out of range, and what is allowed."""
    kept = {name: value for name, value in given.items() if not (value in ("", []) and isinstance(value, str | list))}
    try:
        options = msgspec.convert(kept, Options, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(Options.__struct_fields__)
        raise InputError(
            f"option refused: {error}. Known options: {known}; a provider's own go into `extra_body`"
        ) from None
    check_options(options)
    return (
        options
        if options.extra_body is None
        else msgspec.structs.replace(options, extra_body=copy.deepcopy(options.extra_body))
    )


def check_options(options: Options) -> None:
    """The rules between options (providers 1.7). Raises `InputError`."""
    if isinstance(options.stop, list) and len(options.stop) > MOST_STOPS:
        raise InputError(f"option `stop` takes at most {MOST_STOPS} sequences, got {len(options.stop)}")
    if options.top_logprobs is not None and options.logprobs is not True:
        raise InputError("option `top_logprobs` needs `logprobs=True`")
    if options.modalities and "audio" in options.modalities and options.audio is None:
        raise InputError('option `modalities` with "audio" needs `audio={"voice": …, "format": …}`')
    for key in RESERVED_KEYS:
        if key in (options.extra_body or {}):
            raise InputError(f"option `extra_body` may not hold `{key}`: it has an argument of its own")
    for name in ("extra_body", "audio", "web_search_options"):
        try:
            json.dumps(getattr(options, name), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"option `{name}` cannot be written as JSON: {error}") from None
    checked_headers(options.extra_headers)


def check_for(options: Options, provider: Provider) -> None:
    """The rules of one provider. Raises `InputError`."""
    if provider.dialect != "openrouter":
        return
    own = (options.extra_body or {}).get("reasoning")
    own = own if isinstance(own, dict) else {}
    effort = options.reasoning_effort is not None or own.get("effort") is not None
    if effort and (options.reasoning_max_tokens is not None or own.get("max_tokens") is not None):
        raise InputError(
            f"options `reasoning_effort` and `reasoning_max_tokens`: {provider.name} takes one of them, not both"
        )


class OptionWords(TypedDict, total=False):
    """The options as keywords, so that an editor completes them: `submit(model, messages, temperature=0)`."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: str | list[str]
    seed: int
    presence_penalty: float
    frequency_penalty: float
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
    prompt_cache_retention: Literal["in_memory", "24h"]
    user: str
    extra_body: dict[str, Any]
    extra_headers: dict[str, str]
