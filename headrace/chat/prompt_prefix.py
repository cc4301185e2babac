"""The beginning that prompts share, as providers cache it: tools, schema, and the first messages, byte for byte the same.

A provider that is told its key (`prompt_cache_key`) sends requests of one key to a machine that has it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.errors import InputError

MIN_PREFIX_BYTES = 3_584
"""Providers cache what is 1,024 tokens long, or longer; at 3.5 bytes a token."""
FORM = re.compile(r"hr-[0-9a-f]{32}")
FIRST_ROLES = ("system", "developer")
_encode = msgspec.json.Encoder().encode  # in the order in which it is sent


def key_of_prefix(parts: Sequence[Any]) -> str:
    """Return the key of a prefix that is made of these parts; empty when it is too short to be cached."""
    encoded = _encode(parts)
    return f"hr-{blake2b(encoded, digest_size=16).hexdigest()}" if len(encoded) >= MIN_PREFIX_BYTES else ""


def prefix_of_template(
    system: str | None,
    prompt: str,
    schema: Mapping[str, Any] | None,
    *,
    tools: Any = None,
    conversation: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Return the key of what all items of a template begin with: its tools, its schema, its system prompt, and its prompt, or its
    whole `conversation`, up to the first place that is filled."""
    shared: list[Any] = [schema, system]
    if tools:
        shared.append(tools)
    for message in conversation if conversation is not None else [{"content": prompt}]:
        content = message.get("content")
        pieces = list(string.Formatter().parse(content)) if isinstance(content, str) else []
        shared.append(pieces[0][0] if pieces else "")
        if not pieces or len(pieces) > 1 or pieces[0][1] is not None:
            break
    return key_of_prefix(shared)


def prefix_of_messages(messages: Sequence[Mapping[str, Any]], tools: Any, answer_format: Any) -> str:
    """Return the key of what a conversation has in common with others of its program: tools, schema, and the system's messages at
    its beginning."""
    first: list[Any] = []
    for message in messages:
        if message.get("role") not in FIRST_ROLES:
            break
        first.append(message.get("content"))
    return key_of_prefix([tools, answer_format, first]) if first or tools or answer_format else ""


def check_prefix_key(key: str) -> None:
    """Raise `InputError` for a key that none of these functions made: it was read back from Redis, and goes to providers."""
    if key and not FORM.fullmatch(key):
        raise InputError("prefix_key: is not the key of a prefix")
