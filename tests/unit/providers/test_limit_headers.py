"""Headers of limits: believed when they fit together as a minute's, else not said."""

from __future__ import annotations

from typing import Any

import pytest
from headrace_providers.wire.limit_headers import ToldLimits, told_limits


def headers(limit: Any, remaining: Any, reset: Any, kind: str = "requests") -> dict[str, Any]:
    names = ("limit", "remaining", "reset")
    values = zip(names, (limit, remaining, reset), strict=True)
    return {f"x-ratelimit-{name}-{kind}": value for name, value in values if value is not None}


def test_limits_of_a_minute_as_openai_tells_them() -> None:
    told = told_limits(headers("500", "499", "120ms") | headers("30000", "29988", "24ms", "tokens"))
    assert told == ToldLimits(requests=500, tokens=30000)


def test_what_is_used_up_says_when_the_next_call_may_go() -> None:
    assert told_limits(headers("60", "0", "1m0s")) == ToldLimits(requests=60, empty_requests_s=1.0)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset"),
    [
        ("10000", "9999", "8.64s"),  # of a day
        ("500", "500", "0s"),  # nothing used: of which time it is cannot be told
        ("-5", "-6", "1s"),
        ("0", "0", "60s"),
        ("500", "900", "1s"),
        ("500", "-1", "1s"),
        ("500", "499", "-1s"),
        ("500", "499", None),
        ("500", None, "120ms"),
        (None, "499", "120ms"),
        ("9" * 400, "1", "1s"),
        ("1e309", "1", "1s"),
        ("nan", "nan", "nan"),
        ("٥٠٠", "499", "120ms"),
        ("500", "499", "9999999h"),
        ("500", "499", "x" * 10_000),
        ("", "", ""),
        ("5 EUR", "499", "120ms"),
    ],
)
def test_whatever_does_not_fit_together_counts_as_not_said(limit: Any, remaining: Any, reset: Any) -> None:
    assert told_limits(headers(limit, remaining, reset)) is None


def test_other_headers_are_nothing() -> None:
    assert told_limits({"content-type": "application/json"}) is None
