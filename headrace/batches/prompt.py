"""The words of a template: a prompt, or a whole conversation, with `{field}` places that the values of an item fill."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.chat.messages import check_message, kind
from headrace.errors import InputError
from headrace.text.quoting import shortened

DEFAULT_PROMPT = "{text}"
FILLED_ROLES = ("system", "developer", "user")
"""Roles whose texts have places. Examples of answers and of what tools returned are sent as they are: they are often JSON,
whose braces are none."""
MAX_CONVERSATION_BYTES = 256 * 1024
"""Bytes of a conversation that all items share: it lies in Redis."""

Conversation = list[dict[str, Any]]


def prompt_fields(prompt: str, where: str = "--prompt") -> list[str]:
    """Return the names in the prompt's `{field}` places, in order. Raises `InputError`, which begins with `where`, for braces
    that do not make places."""
    names: list[str] = []
    try:
        for _, name, spec, conversion in string.Formatter().parse(prompt):
            if name is None:
                continue
            if not name or spec or conversion:
                raise ValueError("a place is `{name}`, nothing more")
            if name not in names:
                names.append(name)
    except ValueError as error:
        raise InputError(f"{where}: {shortened(str(error))}. Write literal braces as `{{{{` and `}}}}`.") from None
    return names


def render(prompt: str, fields: Mapping[str, Any]) -> str:
    """Return the prompt with its places filled: text as it is, anything else as JSON."""
    return "".join(
        literal + ("" if name is None else value_text(fields[name]))
        for literal, name, _, _ in string.Formatter().parse(prompt)
    )


def value_text(value: Any) -> str:
    """Return a field's value as it stands in a prompt: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def checked_conversation(messages: Any, where: str = "messages", *, places: bool = True) -> Conversation:
    """Return `messages` if they are a conversation that items can share, with texts that have `{field}` places unless these
    are not to be checked. Raises `InputError` with `where`, and the place as a JSON Pointer: in an object `{"messages": […]}`
    below that name."""
    pointer = ""
    if isinstance(messages, dict) and "messages" in messages:
        messages, pointer = messages["messages"], "/messages"
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise InputError(f"{where}: {pointer or '/'}: must be a list of messages, at least one, not {kind(messages)}")
    for place, message in enumerate(messages):
        try:
            check_message(message, f"{pointer}/{place}")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if places:
        conversation_fields(messages, where, pointer)
    try:
        size = len(msgspec.json.encode(messages))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be written as JSON: {shortened(str(error))}") from None
    if size > MAX_CONVERSATION_BYTES:
        raise InputError(
            f"{where}: has {size} bytes, and the conversation that all items share may have {MAX_CONVERSATION_BYTES} (256 KiB): "
            "refer to pictures by their address, or put what is large into columns"
        )
    return list(messages)


def conversation_fields(messages: Sequence[dict[str, Any]], where: str = "messages", pointer: str = "") -> list[str]:
    """Return the names in the places of a conversation, in order. Raises `InputError` for braces that do not make places."""
    names: dict[str, None] = {}
    for place, message in enumerate(messages):
        if message.get("role") not in FILLED_ROLES:
            continue
        content, at = message.get("content"), f"{where}: {pointer}/{place}/content"
        if isinstance(content, str):
            names |= dict.fromkeys(prompt_fields(content, at))
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(text := part.get("text"), str):
                names |= dict.fromkeys(prompt_fields(text, f"{at}/{number}/text"))
    return list(names)


def filled(message: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return `message` with the places in its texts filled."""
    content = message.get("content")
    if message.get("role") not in FILLED_ROLES or content is None:
        return message
    if isinstance(content, str):
        return {**message, "content": render(content, fields)}
    parts = [{**part, "text": render(part["text"], fields)} if "text" in part else part for part in content]
    return {**message, "content": parts}
