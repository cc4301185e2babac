"""Retry hints of providers: `Retry-After` and its relatives, and the headers of their rate limits.

Anything that cannot be read counts as not said (RFC 9110, 10.2.3).
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

MAX_HINT_S = 3600.0
MAX_TEXT = 64
"""Characters of a hint. A longer one says nothing, and costs nothing."""
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def hinted_s(headers: Mapping[str, Any]) -> float | None:
    """Return how many seconds a refused call is asked to wait, `MAX_HINT_S` at most: what `retry_after_s` finds, else the reset
    of the limit that is used up. `headers` are found by names in lower case."""
    seconds = retry_after_s(headers)
    return limit_reset_s(headers) if seconds is None else seconds


def retry_after_s(headers: Mapping[str, Any]) -> float | None:
    """Parse `retry-after-ms`, else `Retry-After` in seconds (`2`, `2s`) or as a date."""
    milliseconds, value = _number(headers.get("retry-after-ms")), headers.get("retry-after")
    if milliseconds is not None and (found := _capped(milliseconds / 1000)) is not None:
        return found
    if not value:
        return None
    number = duration_s(value)
    if number is None:
        number = _date_s(value, headers.get("date"))
    return None if number is None else _capped(number)


def _date_s(value: Any, sent: Any) -> float | None:
    """Return the seconds from one HTTP date to another: when the answer was `sent`, by the clock of whoever said the first. Ours
    may be hours off."""
    until = _epoch_s(value)
    return None if until is None else until - (_epoch_s(sent) or time.time())


def _epoch_s(value: Any) -> float | None:
    text = str(value or "")
    try:
        date = email.utils.parsedate_tz(text) if len(text) <= MAX_TEXT else None
        return email.utils.mktime_tz(date) if date else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def limit_reset_s(headers: Mapping[str, Any]) -> float | None:
    """Return OpenAI's `x-ratelimit-reset-requests` and `-tokens` (`2s`, `6m0s`, `120ms`), of the two the one whose
    `remaining` is 0, the later one when both are, the earlier one when neither is; or OpenRouter's `X-RateLimit-Reset`, an
    epoch in seconds or milliseconds."""
    used_up, others = [], []
    for kind in ("requests", "tokens"):
        seconds = duration_s(headers.get(f"x-ratelimit-reset-{kind}"))
        if seconds is not None:
            left = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
            (used_up if left is None or left <= 0 else others).append(seconds)
    if used_up or others:
        return _capped(max(used_up) if used_up else min(others))
    number = _number(headers.get("x-ratelimit-reset"))
    if number is None:
        seconds = duration_s(headers.get("x-ratelimit-reset"))
        return None if seconds is None else _capped(seconds)
    if number > 1e11:
        number = number / 1000 - time.time()
    elif number > 1e8:
        number -= time.time()
    return _capped(number)


def duration_s(value: Any) -> float | None:
    """Parse `6m0s`, `1h2m`, `120ms`, or a plain number of seconds."""
    number = _number(value)
    if number is not None:
        return number
    text = str(value or "").strip() if not isinstance(value, int | float) else ""
    if len(text) > MAX_TEXT:
        return None
    parts = DURATION.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return sum(float(amount) * UNITS_S[unit] for amount, unit in parts)


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool) or (isinstance(value, str | bytes) and len(value) > MAX_TEXT):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _capped(seconds: float) -> float | None:
    return min(seconds, MAX_HINT_S) if 0 <= seconds < float("inf") else None
