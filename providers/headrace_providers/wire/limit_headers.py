"""Headers of rate limits on any answer, as OpenAI and others send them: `x-ratelimit-limit-…`, `-remaining-…`, `-reset-…`.

A limit is believed when what is left and when all is there again say that it is one of a minute: others count by the day under
the same names. Whatever is missing, negative, absurd or contradicts the rest counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from headrace_providers.wire.retry_hints import duration_s

ON_HEADERS: ContextVar[Callable[[Mapping[str, Any]], None] | None] = ContextVar("on_headers", default=None)
"""Told of the headers of every answer, of success or failure; found by names in lower case."""
NUMBER = re.compile(r"\d{1,12}")
MIN_WINDOW_S, MAX_WINDOW_S = 30.0, 120.0
MAX_EMPTY_S = 120.0


class ToldLimits(NamedTuple):
    """Limits of a minute, 0 for none that can be believed, and the seconds until something is left again, where nothing is."""

    requests: int = 0
    tokens: int = 0
    empty_requests_s: float = 0.0
    empty_tokens_s: float = 0.0


def told_limits(headers: Mapping[str, Any]) -> ToldLimits | None:
    """Return what the headers tell; None when that is nothing."""
    if "x-ratelimit-limit-requests" not in headers and "x-ratelimit-limit-tokens" not in headers:
        return None
    requests, empty_requests_s = limit_of(headers, "requests")
    tokens, empty_tokens_s = limit_of(headers, "tokens")
    told = ToldLimits(requests, tokens, empty_requests_s, empty_tokens_s)
    return told if requests or tokens else None


def limit_of(headers: Mapping[str, Any], kind: str) -> tuple[int, float]:
    """Return one limit of a minute, and how long nothing of it is left."""
    limit = number(headers.get(f"x-ratelimit-limit-{kind}"))
    remaining = number(headers.get(f"x-ratelimit-remaining-{kind}"))
    reset_s = duration_s(headers.get(f"x-ratelimit-reset-{kind}"))
    if not limit or remaining is None or reset_s is None or not remaining < limit or not 0 < reset_s < float("inf"):
        return 0, 0.0
    window_s = reset_s * limit / (limit - remaining)
    if not MIN_WINDOW_S <= window_s <= MAX_WINDOW_S:
        return 0, 0.0
    return limit, min(reset_s / limit, MAX_EMPTY_S) if remaining == 0 else 0.0


def number(value: Any) -> int | None:
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if NUMBER.fullmatch(text) and text.isascii() else None
