"""The limits that rehearsal enforces: a bucket of one second, a 429 that says when, and OpenAI's headers."""

from __future__ import annotations

import pytest
from headrace_rehearsal.dialects import RefusedRequest
from headrace_rehearsal.rate_limits import RateLimits


def test_a_seconds_worth_passes_at_once_and_then_the_rate() -> None:
    limits = RateLimits(requests=1_200)
    for _ in range(20):
        limits.admit(0, 100.0)
    with pytest.raises(RefusedRequest) as refused:
        limits.admit(0, 100.0)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 0.05)
    limits.admit(0, 100.051)
    with pytest.raises(RefusedRequest):
        limits.admit(0, 100.06)


def test_tokens_have_a_bucket_of_their_own_and_a_refused_call_takes_nothing() -> None:
    limits = RateLimits(requests=1_200, tokens=60_000)
    limits.admit(900, 100.0)
    for _ in range(30):
        with pytest.raises(RefusedRequest, match="tokens"):
            limits.admit(200, 100.0)
    limits.admit(100, 100.0)
    limits.admit(5_000, 101.0)  # larger than the bucket: it was full
    with pytest.raises(RefusedRequest) as refused:
        limits.admit(1, 101.0)
    assert refused.value.retry_after_s == pytest.approx(4.001)


def test_headers_tell_the_limit_what_is_left_and_when_all_is_there_again() -> None:
    limits = RateLimits(requests=1_200)
    limits.admit(0, 100.0)
    assert limits.admit(0, 100.0) == {
        "x-ratelimit-limit-requests": "1200",
        "x-ratelimit-remaining-requests": "1198",
        "x-ratelimit-reset-requests": "0.100s",
    }


def test_without_limits_there_is_nothing_to_admit() -> None:
    assert not RateLimits()
