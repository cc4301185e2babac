"""Errors as clients get them: OpenAI's error object on every route, `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from headrace.errors import (
    CODES,
    Conflict,
    Damaged,
    Expired,
    Failure,
    Finished,
    Gone,
    HeadraceError,
    InputError,
    JobFailed,
    ModelNotFound,
    StorageError,
    Unknown,
    UnknownField,
    Unreachable,
    WaitTimeout,
)
from headrace.text.masking import masked
from headrace.text.quoting import MAX_QUOTED
from headrace_api.auth import Denied
from headrace_api.error_quoting import shorten_quotes

log = structlog.get_logger("headrace.api.errors")

POINTER = re.compile(r"^(?:option refused: .*`\$\.(?P<option>\w+)`|(?P<pointer>/[^\s:]+|\w+(?=[:=])))")
STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownField, 400, "unknown_parameter"),
    (ModelNotFound, 404, "model_not_found"),
    (InputError, 400, "invalid_request"),
    (Expired, 410, "expired"),
    (Unknown, 404, "not_found"),
    (Gone, 410, "gone"),
    (Conflict, 409, "conflict"),
    (Finished, 409, "finished"),
    (Unreachable, 503, "unreachable"),
    (Damaged, 500, "damaged"),
    (WaitTimeout, 504, "timeout"),
    (StorageError, 507, "storage"),
)


class ApiError(Exception):
    """An error response: OpenAI's error object with its HTTP status."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, headers: Any = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        # A conflict stays one: OpenAI's clients would ask again by themselves.
        self.headers: dict[str, str] = ({"x-should-retry": "false"} if status == 409 else {}) | dict(headers or {})

    def body(self) -> dict[str, Any]:
        sort = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": sort, "param": self.param, "code": self.code}}


def api_error(error: Exception) -> ApiError:
    """Return the error response to `error`. An unexpected exception is a 500 without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Denied):
        return ApiError(
            401 if error.missing else 403, "unauthorized" if error.missing else "forbidden", shorten_quotes(str(error))
        )
    if isinstance(error, JobFailed):
        return failed(error.subject, error.failure)
    for kind, status, code in STATUS:
        if isinstance(error, kind):
            place = (
                "model"
                if kind is ModelNotFound
                else place_in(str(error))
                if kind in (InputError, UnknownField)
                else None
            )
            if place is None or len(place) > MAX_QUOTED // 2:  # names in it are quotes as well
                return ApiError(status, code, shorten_quotes(str(error)))
            return ApiError(status, code, shorten_quotes(str(error), MAX_QUOTED - len(place)), param=place)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, "http", shorten_quotes(error.detail))
    if not isinstance(error, HeadraceError):
        log.error("unforeseen", exc_info=error)
    return ApiError(500, "internal", "something went wrong here; the gateway's log says what")


def failed(job: str, failure: Failure) -> ApiError:
    """Return the error of a job that ended without an answer."""
    row = CODES.get(failure.code)
    message = f"{job}: {masked(failure.message)}" + (f" (to do: {row.remedy})" if row else "")
    # The job has had its retries; the client's own would pay for a new one.
    return ApiError(row.http if row else 500, failure.code, message, headers={"x-should-retry": "false"})


def place_in(message: str) -> str | None:
    """Return the place that an error's message begins with: `/messages/0/role`, `stream`, an option."""
    found = POINTER.match(message)
    return (found["option"] or found["pointer"]) if found else None


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Handle an exception for Litestar."""
    problem = api_error(error)
    return Response(
        msgspec.json.encode(problem.body()),
        status_code=problem.status,
        media_type="application/json",
        headers=problem.headers,
    )
