"""What the fields of an answer hold, in the shapes that real servers give them: text, parts, base64, finish reasons.

Content, refusal, tool calls and finish reason are read strictly: what is of another type raises `TypeError`. Whatever else
stands in an answer costs it nothing (`docs/providers.md`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

THINKING = frozenset({"thinking", "reasoning", "reasoning_text", "thought", "summary_text"})
TEXTS = ("text", "content", "value")
"""Where a part of content has its text: OpenAI and most others, some servers, OpenAI's Assistants (`text.value`)."""
NO_REASON = frozenset({"", "null", "none", "None", "undefined"})
"""Finish reasons that are none: what a server makes of its empty value when it writes it as a text."""


def is_empty(value: Any) -> bool:
    """Whether a field says nothing: an empty field is no field."""
    return value is None or value == "" or value == [] or value == {}


def text_of(content: Any) -> str:
    """A text, or the texts of parts. Raises `TypeError` for anything else."""
    if isinstance(content, str):
        return content
    return "".join(said for kind, said in parts_of(content) if kind == "text")


def parts_of(content: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a content as (text, reasoning or refusal, its text); what is neither as (other, the part)."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, dict):
            yield part_of(part)
        elif part is not None:
            raise TypeError(f"a text or parts of one were expected, not {type(part).__name__}")


def part_of(part: dict[str, Any]) -> tuple[str, Any]:
    kind = part.get("type")
    if kind == "refusal" or (not isinstance(kind, str) and isinstance(part.get("refusal"), str)):
        return "refusal", text_in(part, ("refusal", "text"))
    thinking = isinstance(kind, str) and kind in THINKING
    if thinking or (not isinstance(kind, str) and not is_empty(part.get("thinking"))):
        return "reasoning", text_in(part, ("thinking", "reasoning", "text", "summary", "content"))
    said = text_in(part, TEXTS)
    return ("text", said) if said or kind in (None, "text", "output_text") else ("other", part)


def text_in(part: dict[str, Any], names: tuple[str, ...]) -> str:
    """The first text of a part that is not empty. Raises `TypeError` when what there is is none."""
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
    """A list, or none. Raises `TypeError`."""
    if is_empty(value):
        return []
    if not isinstance(value, list):
        raise TypeError(f"{what}: a list was expected, not {type(value).__name__}")
    return value


def object_of(value: Any, what: str) -> dict[str, Any]:
    """An object, empty for none. Raises `TypeError`."""
    if value is None or value == []:  # PHP writes an empty object so
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what}: an object was expected, not {type(value).__name__}")
    return value


def finish_of(value: Any) -> str | None:
    """A finish reason. Raises `TypeError`."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"finish_reason: a text was expected, not {type(value).__name__}")
    return None if value in NO_REASON else value


def sound_of(data: Any) -> bytes | None:
    """The bytes in base64 text, without its padding and with the alphabet of URLs, too; None when there is no reading it."""
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
