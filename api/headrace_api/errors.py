"""Errors as clients get them: OpenAI's error object on every route, `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.routes import HTTPRoute
from litestar.types import Send

from headrace.chat.error_object import status_and_code, type_of
from headrace.errors import (
    CODES,
    Closed,
    Conflict,
    Damaged,
    Expired,
    Failure,
    Finished,
    Gone,
    InputError,
    JobFailed,
    ModelNotFound,
    StorageError,
    Unknown,
    UnknownField,
    Unreachable,
    WaitTimeout,
)
from headrace.logs import get_logger
from headrace.text.masking import masked
from headrace.text.quoting import MAX_QUOTED
from headrace_api.auth import Denied
from headrace_api.error_quoting import shorten_quotes

log = get_logger("headrace.api.errors")

POINTER = re.compile(r"^(?:option (?:refused: .*`\$\.|`)(?P<option>\w+)`|(?P<pointer>/[^\s:]+|\w+(?=[:=])))")
STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownField, 400, "unknown_parameter"),
    (ModelNotFound, 404, "model_not_found"),
    (InputError, 400, "invalid_request"),
    (Expired, 410, "expired"),
    (Unknown, 404, "not_found"),
    (Gone, 410, "gone"),
    (Conflict, 409, "conflict"),
    (Finished, 409, "finished"),
    (Closed, 409, "closed"),
    (Unreachable, 503, "unreachable"),
    (Damaged, 500, "damaged"),
    (WaitTimeout, 504, "timeout"),
    (StorageError, 507, "storage"),
)


REQUEST_ID = "headrace.request"
"""Key of the request's id (bytes) in an ASGI scope."""


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
        error = {"message": str(self), "type": type_of(self.status), "param": self.param, "code": self.code}
        return {"error": error}


def api_error(error: Exception, request_id: str = "") -> ApiError:
    """Return the error response to `error`. An unexpected exception is a 500 without details; the log names the request."""
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
            text = in_body(str(error))
            place: str | None = "model" if kind is ModelNotFound else None
            if kind in (InputError, UnknownField):
                place = place_in(text)
            if place is None or len(place) > MAX_QUOTED // 2:  # names in it are quotes as well
                return ApiError(status, code, shorten_quotes(text))
            return ApiError(status, code, shorten_quotes(text, MAX_QUOTED - len(place)), param=place)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, "http", shorten_quotes(error.detail))
    log.error("unforeseen", request=request_id, exc_info=error)
    return ApiError(500, "internal", "something went wrong here; the gateway's log says what")


def failed(job: str, failure: Failure) -> ApiError:
    """Return the error of a job that ended without an answer."""
    row = CODES.get(failure.code)
    message = f"{job}: {masked(failure.message)}" + (f" (to do: {row.remedy})" if row else "")
    status, code = status_and_code(failure.code)
    # The job has had its retries; the client's own would pay for a new one.
    return ApiError(status, code, message, headers={"x-should-retry": "false", "x-headrace-job": job})


def rate_limited(job: str, detail: str, wait_s: float) -> ApiError:
    """Return the error for a caller that will not wait so long for a provider. The job goes on: the caller's own retry is given
    its answer."""
    retry_after = {"retry-after": str(max(1, math.ceil(wait_s))), "x-headrace-job": job}
    return ApiError(429, "rate_limited", f"{detail}; {job} goes on, ask again then", headers=retry_after)


def in_body(message: str) -> str:
    """Return an error's message with its place as it is called in the body, where tool definitions have other names."""
    for name, instead in (("/schemas/", "/tools/"), ("/choice:", "/tool_choice:")):
        if message.startswith(name):
            return instead + message.removeprefix(name)
    return message


def place_in(message: str) -> str | None:
    """Return the place that an error's message begins with, as OpenAI writes it: `messages[0].role`, `stream`, an option."""
    found = POINTER.match(message)
    return dotted(found["option"] or found["pointer"]) if found else None


def dotted(pointer: str) -> str:
    """Return a JSON Pointer as OpenAI writes places: `/tools/1/function/name` is `tools[1].function.name`."""
    place = ""
    for token in pointer.removeprefix("/").split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        place += f"[{name}]" if place and name.isdecimal() else f".{name}" if place else name
    return place


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Handle an exception for Litestar."""
    problem = route_error(error, request) or api_error(error, request.scope.get(REQUEST_ID, b"").decode())
    return Response(
        msgspec.json.encode(problem.body()),
        status_code=problem.status,
        media_type="application/json",
        headers=problem.headers,
    )


def route_error(error: Exception, request: Request[Any, Any, Any]) -> ApiError | None:
    """Return the error of a path or a method that there is not, with those that there are; None for any other."""
    if not isinstance(error, NotFoundException | MethodNotAllowedException):
        return None
    path, method = request.scope["path"], request.scope["method"]
    routes: dict[str, set[str]] = {}
    for route in request.app.routes:
        if isinstance(route, HTTPRoute):
            routes.setdefault(route.path_format, set()).update(route.methods - {"OPTIONS"})
    if isinstance(error, MethodNotAllowedException):
        there = next((found for known, found in routes.items() if fits_route(path, known)), set[str]())
        allowed = ", ".join(sorted(there))
        message = f"{method} is not for {path:.200}" + (f"; it takes {allowed}" if allowed else "")
        return ApiError(405, "method_not_allowed", message, headers={"allow": allowed} if allowed else None)
    known = ", ".join(sorted(each for each in routes if each.startswith("/v1/")))
    return ApiError(404, "not_found", f"there is no {path:.200}; there are {known}, and the page at /")


def fits_route(path: str, route: str) -> bool:
    """Return True if `path` is one of a route such as `/v1/jobs/{job}`."""
    given, known = path.strip("/").split("/"), route.strip("/").split("/")
    return len(given) == len(known) and all(b.startswith("{") or a == b for a, b in zip(given, known, strict=True))


async def send_error(problem: ApiError, send: Send, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send `problem` as a whole response, from outside the framework."""
    body = msgspec.json.encode(problem.body())
    named = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    length = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": [*length, *named, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
