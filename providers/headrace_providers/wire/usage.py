"""Tokens as each provider tells them, in our terms. What cannot be read is unknown: the answer is paid all the same."""

from __future__ import annotations

from typing import Any

from headrace.chat.completion import Usage

MAX_TOKENS = 10**12
"""More than that of one answer is no count, and would not fit the ledger's sums."""
INPUT = ("prompt_tokens", "input_tokens", "promptTokenCount")
OUTPUT = ("completion_tokens", "output_tokens", "candidatesTokenCount")
"""OpenAI's names and most others', Anthropic's, Google's."""
CACHED = (("prompt_tokens_details", "cached_tokens"), ("prompt_cache_hit_tokens",), ("cached_tokens",))
"""Keys of the cached prompt tokens in a usage object: OpenAI and most others, DeepSeek, Moonshot."""


def usage_beside(chunk: dict[str, Any]) -> Any:
    """Return the usage beside an answer: Groq's last chunk of a stream has it in `x_groq`, Moonshot's in its choice."""
    choices = chunk.get("choices")
    beside = chunk.get("x_groq") or (choices[0] if choices and isinstance(choices, list) else None)
    return beside.get("usage") if isinstance(beside, dict) else None


def usage_of(usage: Any) -> Usage:
    """Return a provider's `usage` object. `unknown` when not all of it can be read."""
    unknown = False

    def number(*path: str) -> int | None:
        nonlocal unknown
        value = usage
        try:
            for name in path:
                value = value.get(name) if value is not None else None
            found = None if value is None else count(value)
            unknown = unknown or (found or 0) > MAX_TOKENS
            return found if (found or 0) <= MAX_TOKENS else None
        except (AttributeError, TypeError, ValueError, OverflowError):
            unknown = True
            return None

    def first(names: tuple[str, ...]) -> int | None:
        return next((found for name in names if (found := number(name)) is not None), None)

    asked, said, total = first(INPUT), first(OUTPUT), number("total_tokens")
    if total is not None and (asked is None) != (said is None):
        asked = max(0, total - (said or 0)) if asked is None else asked
        said = max(0, total - asked) if said is None else said
    unknown = unknown or asked is None or said is None
    cached = [found for path in CACHED if (found := number(*path)) is not None]
    counts = {
        "input_tokens": asked or 0,
        "output_tokens": said or 0,
        "cached_tokens": cached[0] if cached else 0,
        "reasoning_tokens": number("completion_tokens_details", "reasoning_tokens") or 0,
    }
    return Usage(**counts, unknown=unknown)


def count(tokens: Any) -> int:
    """Return a token count. Raises `TypeError` or `ValueError` for what is none."""
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or tokens < 0:
        raise TypeError(f"a count of tokens was expected, not {type(tokens).__name__}")
    return int(tokens)
