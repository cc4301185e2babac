"""What providers say of failures, as `CallError`s."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from headrace_providers.credentials import remember
from headrace_providers.wire.provider_errors import (
    CONFIGURATION,
    call_error,
    error_inside,
    is_configuration,
    is_unreachable,
)


@pytest.mark.parametrize(
    ("status", "asked", "body", "retryable"),
    [
        (500, None, None, True),
        (500, "false", None, False),
        (400, None, None, False),
        (400, "true", None, True),
        (400, None, {"error": {"message": "m", "metadata": {"error_type": "provider_overloaded"}}}, True),
        (503, None, {"error": {"message": "m", "availability": {"retryable": False}}}, False),
        (503, None, {"availability": {"retryable": "no"}}, True),
    ],
)
def test_the_provider_says_whether_a_failure_is_retryable(
    status: int, asked: str | None, body: Any, retryable: bool
) -> None:
    assert call_error(status, body, asked=asked).retryable is retryable


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ("plain text", "provider_error", True),
        ({"code": 502, "message": "m"}, "provider_error", True),
        ({"code": 429, "message": "m"}, "rate_limited", True),
        ({"code": 403, "message": "m"}, "auth", False),
        ({"code": "insufficient_quota", "message": "m"}, "payment", False),
        ({"code": "context_length_exceeded", "message": "m"}, "invalid_request", False),
        ({"code": 500, "message": "m", "availability": {"retryable": False}}, "provider_error", False),
        ({"code": True, "message": ["m"]}, "provider_error", True),
        ([1], "provider_error", True),
    ],
)
def test_an_error_where_an_answer_was_promised(error: Any, code: str, retryable: bool) -> None:
    made = error_inside(error, partial="half")
    assert (made.code, made.retryable, made.partial) == (code, retryable, "half")


@pytest.mark.parametrize(
    ("status", "name", "code", "retryable"),
    [
        (429, "insufficient_quota", "payment", False),
        (429, "billing_hard_limit_reached", "payment", False),
        (400, "model_not_found", "not_found", False),
        (404, "model_not_found", "not_found", False),
        (400, "invalid_api_key", "auth", False),
        (429, "rate_limit_exceeded", "rate_limited", True),
        (500, "insufficient_quota", "payment", False),
    ],
)
def test_a_name_that_says_more_than_the_status(status: int, name: str, code: str, retryable: bool) -> None:
    for asked in (None, "true"):
        made = call_error(status, {"error": {"message": "m", "code": name}}, retry_after_s=7, asked=asked)
        assert (made.code, made.retryable, made.retry_after_s) == (code, retryable, 7)
        assert is_configuration(made) is (code in CONFIGURATION)


def test_an_address_where_nobody_is() -> None:
    refused, unknown, broken = ConnectionRefusedError(111, "no"), socket.gaierror(-2, "no"), ConnectionResetError(104)
    for cause, nobody in ((refused, True), (unknown, True), (broken, False), (TimeoutError(), False)):
        error = RuntimeError("outer")
        error.__cause__ = cause
        assert is_unreachable(error) is nobody


def test_keeps_the_providers_code_without_credentials() -> None:
    error = call_error(429, {"error": {"message": "m", "type": "requests", "code": "rate_limit_exceeded"}})
    assert error.details == {"provider_code": "rate_limit_exceeded", "error_type": "requests"}
    assert "m" in str(error)
    remember("my-secret-key")
    secret = call_error(401, {"error": {"message": "Bearer my-secret-key is wrong, sk-abcdefghij too"}})
    assert "my-secret-key" not in str(secret)
    assert "abcdefghij" not in str(secret)
