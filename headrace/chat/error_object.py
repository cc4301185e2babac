"""The failure of a job or an item as callers see it: its HTTP status and code. Faults of our own account are not the caller's."""

from __future__ import annotations

from headrace.errors import CODES

OF_OUR_ACCOUNT = {"auth": (502, "provider_auth")}
"""A provider that refuses our key: a 401 would make the caller doubt theirs."""


def status_and_code(code: str) -> tuple[int, str]:
    """Return the HTTP status and the code for a failure's code, a row of `CODES`."""
    if code in OF_OUR_ACCOUNT:
        return OF_OUR_ACCOUNT[code]
    return (CODES[code].http if code in CODES else 500), code


def type_of(status: int) -> str:
    """Return the `type` of OpenAI's error object."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
