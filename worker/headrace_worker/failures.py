"""What a provider says of a failure, as a `CallError`: HTTP answers and error objects inside an HTTP 200 alike."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from headrace.errors import CallError
from headrace_worker.retry_hints import hinted_s

CODE_OF_STATUS = {
    401: "auth",
    402: "payment",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "provider_unavailable",
    429: "rate_limited",
    529: "provider_unavailable",
}
CODE_OF_NAME = {
    "insufficient_quota": "payment",
    "billing_hard_limit_reached": "payment",
    "billing_not_active": "payment",
    "model_not_found": "not_found",
    "invalid_api_key": "auth",
}
"""OpenAI's `code` of an error object, where it says more than the status (an exhausted quota is a 429 there)."""
CONFIGURATION = frozenset({"auth", "payment", "not_found", "no_deployment"})
RETRYABLE_TYPES = frozenset({"rate_limit_exceeded", "provider_overloaded", "provider_unavailable", "server", "timeout"})
"""OpenRouter's `metadata.error_type` values that another call may get past (providers 7.2)."""


def code_of(status: int) -> str:
    """Our code for a provider's HTTP status (providers 7.2)."""
    return CODE_OF_STATUS.get(status) or ("provider_unavailable" if status >= 500 else "invalid_request")


def call_error(
    status: int, body: Any, *, key: str = "", retry_after_s: float | None = None, asked: str | None = None
) -> CallError:
    """The error of an HTTP answer. `body` is what it held, `asked` its `x-should-retry`."""
    said = Said(body)
    if retry_after_s is None and status in (429, 503):
        retry_after_s = said.retry_after_s
    message = scrub(f"the provider answered {status}: {said.message}", key)
    retryable = {"true": True, "false": False}.get(asked or "", said.retryable)
    code = code_of(status)
    named = CODE_OF_NAME.get(str(said.details.get("provider_code")))
    if named is not None and status < 500:
        code, retryable = named, False
    return CallError(
        code, message, status=status, retry_after_s=retry_after_s, details=said.details, retryable=retryable
    )


def is_configuration(error: CallError) -> bool:
    """Whether it is no fault of what was asked: the key, the model's name, the account, or the address has to be put right."""
    return error.code in CONFIGURATION or bool(error.details.get("unreachable"))


def is_unreachable(error: BaseException) -> bool:
    """Whether nobody listens at the address, or its name is not known: no call has ever begun."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return True
        if isinstance(cause, OSError) and cause.errno in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return True
        cause = cause.__cause__
    return False


def error_inside(error: Any, *, partial: str | None = None) -> CallError:
    """The error of an `error` object where an answer was promised: in an HTTP 200, a stream, a choice (statement 105)."""
    said = Said(error)
    status = said.status
    code = code_of(status) if status is not None and 400 <= status < 500 else "provider_error"
    retryable = None if said.retryable is None and status is None else said.retryable
    named = CODE_OF_NAME.get(str(said.details.get("provider_code")))
    if named is not None:
        code, retryable = named, False
    return CallError(
        code,
        scrub(f"the provider failed while answering: {said.message}"),
        status=status,
        retry_after_s=said.retry_after_s,
        partial=partial,
        details=said.details,
        retryable=retryable,
    )


class Said:
    """What an error object says: a message, a status when its `code` is one, and whether a new call may help."""

    def __init__(self, error: Any):
        fields: Mapping[str, Any] = error if isinstance(error, dict) else {}
        if isinstance(fields.get("error"), dict):
            fields = fields["error"]
        metadata = fields.get("metadata") if isinstance(fields.get("metadata"), dict) else {}
        kind = (metadata or {}).get("error_type")
        message = fields.get("message") or (fields or error)
        self.message = message if isinstance(message, str) else str(message)[:2000]
        code = fields.get("code")
        self.status = code if isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599 else None
        available = fields.get("availability")
        self.retryable: bool | None = None
        if isinstance(available, dict) and isinstance(available.get("retryable"), bool):
            self.retryable = available["retryable"]
        elif isinstance(kind, str) and kind in RETRYABLE_TYPES:
            self.retryable = True
        headers = (metadata or {}).get("headers")  # OpenRouter's way to pass on those of its own limits
        self.retry_after_s = (
            hinted_s({str(n).lower(): v for n, v in headers.items()}) if isinstance(headers, dict) else None
        )
        named = {"provider_code": code, "error_type": kind or fields.get("type")}
        self.details: dict[str, Any] = {
            name: value for name, value in named.items() if isinstance(value, str | int) and value != ""
        }


def refused(error: BaseException) -> str:
    """What the system said, when a connection was refused at heart: the SDK's aiohttp transport calls that a time-out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) or (isinstance(cause, OSError) and not isinstance(cause, TimeoutError)):
            return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else type(cause).__name__
        cause = cause.__cause__
    return ""


def scrub(text: str, key: str = "", *, most: int = 500) -> str:
    """Cut to `most` characters, without the credential in it."""
    if len(key) > 7:
        text = text.replace(key, "…")
    text = re.sub(r"(sk-|Bearer\s+)[A-Za-z0-9_\-.*]{6,}", r"\1…", text)
    return text if len(text) <= most else f"{text[:most]}…"


NO_JSON = (ValueError, TypeError, OverflowError, RecursionError)
"""What writing a value as JSON raises: half of a surrogate pair, say."""


def unstorable(error: BaseException, counters: dict[str, int]) -> CallError:
    """The failure of an answer that was paid, and cannot be written down."""
    message = f"the answer cannot be written as JSON: {type(error).__name__}"
    return CallError("invalid_output", message, details={"counters": counters})
