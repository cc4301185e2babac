"""The ways to send a schema to a model: from constrained decoding down to text in the prompt.

`form_of` is the only place that knows, for each mode, what is sent and how an answer is decoded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from headrace.errors import InputError, SchemaError
from headrace.schema.lower import Lowered, lower_schema
from headrace.text.quoting import quoted

Mode = Literal["strict", "json_schema", "json_object", "tool_call", "typed_xml", "prompt"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""All modes, from the strictest to the loosest."""

WITHOUT_STRICT: tuple[tuple[str, str, Mode], ...] = (
    ("openai", r"gpt-4o-2024-05-13|gpt-4-turbo.*|gpt-4-.*preview|gpt-3\.5-turbo.*", "tool_call"),
    ("openai", r"gpt-4|gpt-4-0613|gpt-4-0314", "tool_call"),
    ("openai", r"o1-mini.*|o1-preview.*|chatgpt-4o-latest", "prompt"),
)
"""Models older than strict mode: provider, name, the mode that they have. Source: OpenAI, Structured Outputs, supported
models: `gpt-4o-2024-08-06` and later (read 2026-11); a local profile (`HEADRACE_PROFILES`) comes before this table."""


class Form(NamedTuple):
    """A schema in one mode: `schema` is what the model gets, `lowered` the codec (None: the answer is the value)."""

    mode: Mode
    schema: dict[str, Any]
    lowered: Lowered | None


def checked_mode(mode: Any) -> Mode | None:
    """Return `mode` if it is one. Raises `InputError`."""
    for known in MODES:
        if mode == known:
            return known
    if mode is None:
        return None
    raise InputError(f"mode={quoted(mode)}: must be one of {', '.join(MODES)}, or left out")


@lru_cache(maxsize=1024)
def mode_for(provider: str, model: str, profile: str | None) -> Mode:
    """Return the mode of a model: its profile's, else that of `WITHOUT_STRICT`, else strict."""
    if profile is not None:
        return checked_mode(profile) or "strict"
    for name, pattern, mode in WITHOUT_STRICT:
        if name == provider and re.fullmatch(pattern, model):
            return mode
    return "strict"


def form_of(schema: dict[str, Any], mode: Mode, target: str) -> Form:
    """Return `schema` in the form for `mode`. It is the caller's own unless it has to be lowered: for strict mode and XML,
    and for a root that is no object. Raises `SchemaError`."""
    if mode not in ("strict", "typed_xml") and schema.get("type") == "object":
        return Form(mode, schema, None)
    lowered = lower_schema(schema, target)
    return Form(mode, lowered.wire, lowered)


def is_unchanged(schema: dict[str, Any], mode: Mode | None, target: str) -> bool:
    """Return True if the text of an answer is the caller's JSON unchanged (mode None: the model's own)."""
    form = form_of(schema, mode or "strict", target)
    return mode != "typed_xml" and (form.lowered is None or form.lowered.transparent)


def check_carried(schema: dict[str, Any], mode: Mode | None, target: str) -> None:
    """Raise `SchemaError` for a schema that cannot be sent in `mode` (None: the model's own)."""
    try:
        form_of(schema, mode or "strict", target)
    except SchemaError as error:
        if mode is not None or error.keyword in ("", "false"):
            raise
        remedy = error.remedy
        if schema.get("type") == "object":
            remedy += "; in the mode json_object it would be carried as it is"
        message = str(error.args[0]).removesuffix(f"; {error.remedy}")
        raise SchemaError(message, pointer=error.pointer, keyword=error.keyword, remedy=remedy) from None
