"""When to come back, in every form that providers say it in."""

from __future__ import annotations

import time
from typing import Any

import pytest
from headrace_providers.wire.provider_errors import call_error, error_inside
from headrace_providers.wire.retry_hints import hinted_s, retry_after_s


def test_retry_after_is_read_in_every_form() -> None:
    assert retry_after_s({"retry-after": "7"}) == 7
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert retry_after_s({"retry-after-ms": "soon", "retry-after": "7"}) == 7
    assert retry_after_s({"retry-after": "2s"}) == 2
    assert retry_after_s({"retry-after": "99999999"}) == 3600
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) == 3600
    for garbage in ({"retry-after": "soon"}, {"retry-after": "-3"}, {"retry-after": "nan"}, {"retry-after": "inf"}, {}):
        assert retry_after_s(garbage) is None


@pytest.mark.parametrize("clock_s", [0.0, 7_200.0, -7_200.0])
def test_a_date_counts_from_the_answers_own_whatever_our_clock_says(
    clock_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + clock_s)
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:20 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after_s(headers) == 20
    assert retry_after_s(headers | {"date": "Wed, 21 Oct 2015 08:28:00 GMT"}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "2s"}, 2),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3600),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        (
            {
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "9000",
            },
            2,
        ),
        (
            {
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-remaining-requests": "99",
                "x-ratelimit-reset-tokens": "1.5s",
                "x-ratelimit-remaining-tokens": "120",
            },
            1.5,
        ),
        ({"retry-after": "7", "x-ratelimit-reset-requests": "2s"}, 7),
        ({"x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-reset": "2s"}, 2),
        ({"x-ratelimit-reset-requests": "soon", "x-ratelimit-reset": "later"}, None),
        ({"x-ratelimit-reset-requests": "2 parsecs"}, None),
        ({"x-ratelimit-reset": "1000000000"}, None),
        ({"x-ratelimit-reset": "nan"}, None),
        ({}, None),
    ],
)
def test_the_headers_of_a_limit(headers: dict[str, str], seconds: float | None) -> None:
    assert hinted_s(headers) == seconds


@pytest.mark.parametrize("unit", [1, 1000])
def test_an_epoch_in_seconds_or_milliseconds(unit: int) -> None:
    found = hinted_s({"x-ratelimit-reset": str(round((time.time() + 90) * unit))})
    assert found is not None
    assert 85 < found <= 91


def test_openrouter_passes_them_on_in_the_body() -> None:
    reset = {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": str(round((time.time() + 40) * 1000))}
    error = {"message": "Rate limit exceeded", "code": 429, "metadata": {"headers": reset}}
    for found in (call_error(429, {"error": error}), error_inside(error)):
        assert found.code == "rate_limited"
        assert found.retry_after_s is not None
        assert 35 < found.retry_after_s <= 41


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"},
        {"retry-after": 10**400},
        {"retry-after": "1" * 5_000},
        {"retry-after": "Mon, " * 200_000},
        {"retry-after-ms": "9" * 400},
        {"x-ratelimit-reset": "1" * 1_000_000 + "x"},
        {"x-ratelimit-reset-requests": "1m" * 500_000},
        {"x-ratelimit-reset-tokens": ["2s"]},
        {"x-ratelimit-reset": {"a": 1}},
    ],
    ids=lambda headers: f"{next(iter(headers))} {str(next(iter(headers.values())))[:12]}" if str(headers) else "",
)
def test_ignores_malformed_retry_after_headers_at_no_cost(headers: dict[str, Any]) -> None:
    began = time.process_time()
    assert hinted_s(headers) is None
    assert time.process_time() - began < 0.1
