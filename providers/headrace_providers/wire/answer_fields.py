"""The fields of an answer, in the shapes that real servers give them: text, parts, base64, finish reasons.

Content, refusal, tool calls and finish reason are read strictly: what is of another type raises `TypeError`. Whatever else
stands in an answer costs it nothing (`docs/providers.md`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from headrace.text.reasoning import REASONING_PARTS

TEXTS = ("text", "content", "value")
"""Keys of a content part's text: OpenAI and most others, some servers, OpenAI's Assistants (`text.value`)."""
OF_PARTS = frozenset(
    {
        *TEXTS,
        "thinking",
        "refusal",
        "image_url",
        "annotations",
        "citations",
        "signature",
        "role",
        "index",
        "id",
        "logprobs",
    }
)
"""Keys of a part of content that has no `type`."""
NO_REASON = frozenset({"", "null", "none", "None", "undefined"})
"""Finish reasons that are none: what a server makes of its empty value when it writes it as a text."""
IN_OTHER_WORDS = {
    "stop": (
        "stop",
        "end_turn",
        "eos",
        "eos_token",
        "stop_sequence",
        "stop_token",
        "end",
        "complete",
        "completed",
        "finished",
    ),
    "length": (
        *("length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length", "model_length", "token_limit"),
        *("model_context_window_exceeded", "context_length_exceeded", "context_window_exceeded", "incomplete"),
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use"),
    "content_filter": (
        *(
            "content_filter",
            "content_filtered",
            "safety",
            "image_safety",
            "recitation",
            "blocklist",
            "spii",
            "sensitive",
        ),
        *("prohibited_content", "guardrail_intervened", "guardrails"),
    ),
    "error": (
        *("error", "abort", "aborted", "failed", "network_error", "engine_error", "server_error", "internal_error"),
        *("insufficient_system_resource", "cancelled", "canceled", "timeout", "interrupted", "overloaded"),
        *("malformed_function_call", "malformed_response", "unexpected_tool_call", "other_error"),
    ),
}
"""Anthropic's, Google's, Mistral's, DeepSeek's, Cohere's, Zhipu's and the engines' own, in small letters."""
REASONS = {theirs: ours for ours, each in IN_OTHER_WORDS.items() for theirs in each}


def is_empty(value: Any) -> bool:
    """Return True if a field says nothing: an empty field is no field."""
    return value is None or value == "" or value == [] or value == {}


def says_nothing(value: Any) -> bool:
    """Return True if an error says nothing: what servers in Go write for none has all its fields, and nothing in them."""
    if isinstance(value, dict):
        return all(map(says_nothing, value.values()))
    return is_empty(value) or value is False or value == 0


def text_of(content: Any) -> str:
    """Return a text, or the texts of parts joined. Raises `TypeError` for anything else."""
    if isinstance(content, str):
        return content
    return "".join(said for kind, said in parts_of(content) if kind == "text")


def parts_of(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a content as (text, reasoning or refusal, its text); any other as (other, the part)."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, dict):
            yield part_of(part)
        elif part is not None:
            raise TypeError(f"a text or parts of one were expected, not {type(part).__name__}")


def is_bare_json(content: Any) -> bool:
    """Return True for an answer that some servers give as a value in place of its text: an object, or a list of objects, without
    a type and with a key that no part of a content has."""
    objects = content if isinstance(content, list) else [content]
    return bool(objects) and all(
        isinstance(each, dict)
        and "type" not in each
        and not {name for name, value in each.items() if not is_empty(value)} <= OF_PARTS
        for each in objects
    )


def part_of(part: dict[str, Any]) -> tuple[str, Any]:
    kind = part.get("type")
    if kind == "refusal" or (not isinstance(kind, str) and isinstance(part.get("refusal"), str)):
        return "refusal", text_in(part, ("refusal", "text"))
    thinking = isinstance(kind, str) and kind in REASONING_PARTS
    if thinking or (not isinstance(kind, str) and not is_empty(part.get("thinking"))):
        return "reasoning", text_in(part, ("thinking", "reasoning", "text", "summary", "content"))
    said = text_in(part, TEXTS)
    if said or not any(not is_empty(value) for name, value in part.items() if name != "type"):
        return "text", said
    return "other", part


def text_in(part: dict[str, Any], names: tuple[str, ...]) -> str:
    """Return the first text of a part that is not empty. Raises `TypeError` when none of its texts is one."""
    for name in names:
        value = part.get(name)
        if isinstance(value, str):
            if value:
                return value
        elif isinstance(value, list | dict):
            inner = [
                text_in(each, (*names, "value")) if isinstance(each, dict) else text_of(each) for each in listed(value)
            ]
            if said := "".join(inner):
                return said
        elif value is not None:
            raise TypeError(f"a text was expected, not {type(value).__name__}")
    return ""


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def list_of(value: Any, what: str) -> list[Any]:
    """Return a list, empty for none. Raises `TypeError`."""
    if is_empty(value) or value is False:
        return []
    if not isinstance(value, list):
        raise TypeError(f"{what}: a list was expected, not {type(value).__name__}")
    return value


def object_of(value: Any, what: str) -> dict[str, Any]:
    """Return an object, empty for none. Raises `TypeError`."""
    if is_empty(value) or value is False:  # PHP writes an empty object as a list
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what}: an object was expected, not {type(value).__name__}")
    return value


def finish_of(value: Any) -> str | None:
    """Return a finish reason in OpenAI's words, `error` for those that are no end of an answer; an unknown one as it came.
    Raises `TypeError`."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"finish_reason: a text was expected, not {type(value).__name__}")
    return None if value in NO_REASON else REASONS.get(value.lower(), value)


def sound_of(data: Any) -> bytes | None:
    """Decode base64 text, without its padding and with the alphabet of URLs, too; None when it is malformed."""
    if not isinstance(data, str):
        return None
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(data, validate=True)
    text = "".join(data.split()).translate(FROM_URLS).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


FROM_URLS = str.maketrans("-_", "+/")


def is_empty_call(call: Any) -> bool:
    """Return True for a call that says nothing but its place: what servers in Go write for none."""
    return isinstance(call, dict) and says_nothing({name: call[name] for name in call.keys() - {"index", "type"}})


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
