"""Fields of an answer that have no name here: what was paid for is kept as it came, by where it stood.

A stream says some of them in pieces (vLLM's token ids), some again and again as they grow (lists of citations), most once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.text.reasoning import REASONING_FIELDS
from headrace_providers.credentials import holds_secret, scrubbed
from headrace_providers.wire.answer_fields import is_empty

IN_ANSWER = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "provider", "service_tier", "system_fingerprint"),
        *("citations", "error", "obfuscation"),
    }
)
IN_CHOICE = frozenset(
    {
        *("index", "delta", "message", "finish_reason", "logprobs", "stop_reason", "native_finish_reason", "text"),
        *("error", "citations"),
    }
)
IN_MESSAGE = frozenset(
    {
        *("role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations", "images", "citations"),
        *("reasoning_details", *REASONING_FIELDS),
    }
)
PIECEWISE = frozenset({"token_ids"})
MAX_BYTES = 1 << 20
"""As JSON, of all that is kept of one answer."""


def gather(into: dict[str, Any], given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Take in what `given` has beside what is `known`; an empty field is none."""
    for name, value in given.items():
        if name in known or is_empty(value):
            continue
        had = into.get(name)
        if isinstance(had, list) and isinstance(value, list) and (name in PIECEWISE or value[: len(had)] != had):
            had.extend(value)
        elif isinstance(had, dict) and isinstance(value, dict):
            into[name] = had | value
        else:
            into[name] = list(value) if isinstance(value, list) else value


def bounded(extra: dict[str, dict[str, Any]], notes: list[str]) -> dict[str, dict[str, Any]]:
    """Return what may be kept, the smaller fields first, and without any credential; `notes` is told what may not."""
    sizes = sorted((size_of(value), level, name) for level, found in extra.items() for name, value in found.items())
    kept: dict[str, dict[str, Any]] = {}
    total = 0
    for size, level, name in sizes:
        total += size
        if total <= MAX_BYTES:
            value = extra[level][name]
            kept.setdefault(level, {})[name] = scrubbed(value, words=False) if holds_secret(value) else value
        else:
            notes.append(f"{name}: left out, it is too large")
    return kept


def size_of(value: Any) -> int:
    try:
        return len(msgspec.json.encode(value))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return MAX_BYTES + 1
