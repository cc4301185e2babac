"""The options of a completion, and every rule that is checked before a byte is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from headrace.errors import InputError


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options in OpenAI's names. None means "not set": nothing is sent for it. Unknown names are refused.

    `on_invalid_retries`: how often an answer that misses the schema is asked for again (each is a paid call).
    """

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    user: str | None = None

    def wire(self) -> dict[str, Any]:
        """The options that are set, as body fields under OpenAI's names."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


def parse_options(given: dict[str, Any]) -> Options:
    """Options from the caller's words. Raises `InputError` naming the option that is unknown or out of range."""
    try:
        options = msgspec.convert(given, Options, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(f.name for f in msgspec.structs.fields(Options))
        raise InputError(f"option refused: {error}. Known options: {known}") from None
    if isinstance(options.stop, list) and len(options.stop) > 4:
        raise InputError(f"option `stop` takes at most 4 sequences, got {len(options.stop)}")
    return options


class OptionWords(TypedDict, total=False):
    """The options as keywords, so that an editor completes them: `submit(model, messages, temperature=0)`."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: str | list[str]
    seed: int
    presence_penalty: float
    frequency_penalty: float
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
    verbosity: Literal["low", "medium", "high"]
    user: str
