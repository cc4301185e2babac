"""Tokens as each provider tells them, in our terms. What cannot be read is unknown: the answer is paid all the same."""

from __future__ import annotations

from typing import Any

from headrace.chat.completion import Usage

MAX_TOKENS = 10**12
"""More than that of one answer is no count, and would not fit the ledger's sums."""
INPUT = ("prompt_tokens", "input_tokens", "promptTokenCount")
OUTPUT = ("completion_tokens", "output_tokens", "candidatesTokenCount")
"""OpenAI's names and most others', Anthropic's, Google's."""
CACHED = ("prompt_cache_hit_tokens", "cached_tokens")
"""Names of the cached prompt tokens in a usage object: DeepSeek, Moonshot. OpenAI and most others have them in its details."""


def usage_beside(chunk: dict[str, Any]) -> Any:
    """Return the usage beside an answer: Groq's last chunk of a stream has it in `x_groq`, Moonshot's in its choice."""
    choices = chunk.get("choices")
    beside = chunk.get("x_groq") or (choices[0] if choices and isinstance(choices, list) else None)
    return beside.get("usage") if isinstance(beside, dict) else None


def usage_of(usage: Any) -> Usage:
    """Return a provider's `usage` object. `unknown` when not all of it can be read."""
    counts = TokenCounts(usage)
    asked, said, total = counts.first(INPUT), counts.first(OUTPUT), counts.at("total_tokens")
    if total is not None and (asked is None) != (said is None):
        asked = max(0, total - (said or 0)) if asked is None else asked
        said = max(0, total - asked) if said is None else said
    cached = [counts.at("cached_tokens", "prompt_tokens_details"), *map(counts.at, CACHED)]
    return Usage(
        input_tokens=asked or 0,
        output_tokens=said or 0,
        cached_tokens=next((found for found in cached if found is not None), 0),
        reasoning_tokens=counts.at("reasoning_tokens", "completion_tokens_details") or 0,
        unknown=counts.unknown or asked is None or said is None,
    )


class TokenCounts:
    """The numbers in a usage object. `unknown`: one was there that cannot be read."""

    __slots__ = ("_usage", "unknown")

    def __init__(self, usage: Any):
        self._usage = usage
        self.unknown = False

    def at(self, name: str, within: str | None = None) -> int | None:
        """Return the number of this name, of the object `within` where that is given; None when there is none."""
        try:
            holder = self._usage if within is None else self._usage.get(within)
            value = None if holder is None else holder.get(name)
            if value is None:
                return None
            found = count(value)
        except (AttributeError, TypeError, ValueError, OverflowError):
            self.unknown = True
            return None
        if found > MAX_TOKENS:
            self.unknown = True
            return None
        return found

    def first(self, names: tuple[str, ...]) -> int | None:
        for name in names:
            found = self.at(name)
            if found is not None:
                return found
        return None


def count(tokens: Any) -> int:
    """Return a token count. Raises `TypeError` or `ValueError` for what is none."""
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or tokens < 0:
        raise TypeError(f"a count of tokens was expected, not {type(tokens).__name__}")
    return int(tokens)
