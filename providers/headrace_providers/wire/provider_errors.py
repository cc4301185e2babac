"""Failures of a provider as `CallError`: HTTP answers and error objects inside an HTTP 200 alike."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.errors import CODES, CallError
from headrace_providers.credentials import scrub, scrubbed
from headrace_providers.wire.answer_fields import is_empty, says_nothing
from headrace_providers.wire.retry_hints import hinted_s

MAX_MESSAGE = 500
"""Characters of a provider's own words that a message shows."""

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
    name: code
    for code, names in {
        "payment": (
            "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance",
            "insufficient_credits", "insufficient_funds", "payment_required", "quota_exceeded_balance", "account_suspended",
            "arrearage", "exceeded_current_quota_error", "billing_error",
        ),
        "auth": (
            "invalid_api_key", "incorrect_api_key", "invalid_authentication", "invalid_authentication_error",
            "authentication_error", "permission_denied", "permission_error", "permission_denied_error", "unauthorized",
            "unauthenticated", "forbidden", "account_deactivated", "key_expired", "api_key_expired", "missing_api_key",
            "invalid_key", "api_key_invalid", "invalid_api_key_error", "access_token_expired", "missing_credentials",
        ),
        "not_found": ("model_not_found", "not_found_error", "model_not_exist", "not_found", "resource_not_found_error"),
        "invalid_request": (
            "context_length_exceeded", "invalid_request_error", "invalid_parameter_error", "invalid_argument",
            "badrequesterror", "bad_request_error", "unprocessable_entity", "string_above_max_length",
        ),
        "rate_limited": (
            "rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests", "resource_exhausted",
            "rate_limit_reached_error", "ratelimiterror",
        ),
        "provider_unavailable": (
            "overloaded_error", "engine_overloaded", "engine_overloaded_error", "overloaded", "unavailable",
            "service_unavailable", "provider_overloaded", "provider_unavailable",
        ),
    }.items()
    for name in names
}  # fmt: skip
"""Names of errors in a provider's `code`, `type` or `status`, with our codes (OpenAI, Anthropic, Google, DeepSeek,
Moonshot, Alibaba)."""
FIRM = frozenset({"payment", "auth", "not_found"})
"""Codes that an error's name decides whatever its status is: an exhausted quota is a 429 at OpenAI, elsewhere a 500."""
CONFIGURATION = frozenset({"auth", "payment", "not_found", "no_deployment"})
RETRYABLE_TYPES = frozenset({"rate_limit_exceeded", "provider_overloaded", "provider_unavailable", "server", "timeout"})
"""OpenRouter's `metadata.error_type` values that another call may get past."""


def code_of(status: int) -> str:
    """Return our code for a provider's HTTP status."""
    return CODE_OF_STATUS.get(status) or ("provider_unavailable" if status >= 500 else "invalid_request")


def call_error(status: int, body: Any, *, retry_after_s: float | None = None, asked: str | None = None) -> CallError:
    """Return the error of an HTTP answer. `body` is what it held, `asked` its `x-should-retry`."""
    said = ErrorObject(body)
    if retry_after_s is None and status in (429, 503):
        retry_after_s = said.retry_after_s
    message = scrub(f"the provider answered {status}: {said.message}", most=MAX_MESSAGE)
    retryable = {"true": True, "false": False}.get(asked or "", said.retryable)
    code = code_of(status)
    if said.named in FIRM:
        code, retryable = said.named, False
    return CallError(
        code, message, status=status, retry_after_s=retry_after_s, details=said.details, retryable=retryable
    )


def is_configuration(error: CallError) -> bool:
    """Return True if it is no fault of what was asked: the key, the model's name, the account, or the address has to be put
    right."""
    return error.code in CONFIGURATION or bool(error.details.get("unreachable"))


def is_unreachable(error: BaseException) -> bool:
    """Return True if nobody listens at the address, or its name is not known: no call has ever begun."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return True
        if isinstance(cause, OSError) and cause.errno in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return True
        cause = cause.__cause__
    return False


def error_inside(error: Any, *, partial: str | None = None) -> CallError:
    """Return the error of an `error` object where an answer was promised: in an HTTP 200, a stream, a choice (statement
    105)."""
    said = ErrorObject(error)
    status = said.status
    code = code_of(status) if status is not None and 400 <= status < 500 else "provider_error"
    retryable = None if said.retryable is None and status is None else said.retryable
    if said.named in FIRM or (said.named and status is None):
        code, retryable = said.named, CODES[said.named].retryable if said.retryable is None else said.retryable
        retryable = retryable and said.named not in FIRM
    return CallError(
        code,
        scrub(f"the provider failed while answering: {said.message}", most=MAX_MESSAGE),
        status=status,
        retry_after_s=said.retry_after_s,
        partial=partial,
        details=said.details,
        retryable=retryable,
    )


def error_in(chunk: dict[str, Any]) -> Any:
    """Return what a chunk without choices says of a failure, in whichever dialect; None when it says nothing of one."""
    for name in ("error", "errors"):
        if chunk.get(name) and not says_nothing(chunk[name]):
            # A text alone has its code beside it, if anywhere.
            is_whole = isinstance(chunk[name], dict) and not chunk.keys() & {*STATUSES, *NAMES}
            return chunk[name] if is_whole or isinstance(chunk[name], list) else chunk
    base = chunk.get("base_resp")  # MiniMax
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": base.get("status_msg") or "no message", "code": CODE_OF_MINIMAX.get(base["status_code"])}
    if chunk.get("type") in ("ping", "heartbeat"):
        return None
    says = [name for name in MESSAGES if not is_empty(chunk.get(name))]
    is_error = chunk.get("object") == "error" or chunk.get("type") == "error" or chunk.get("success") is False
    return chunk if is_error or (says and "choices" not in chunk) else None


CODE_OF_MINIMAX = {1002: 429, 1004: 401, 1008: "insufficient_balance", 1039: 429, 2013: 400, 2049: 401}
MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "error_description", "title")
"""Keys of an error object's message, the first one that is there counts. `detail` is FastAPI's."""
NAMES = ("code", "type", "status", "error_type", "error_code")
IN_WORDS = (
    (
        re.compile(r"(?:incorrect|invalid) api.?key|api.?key (?:is |not )?(?:invalid|valid|expired)", re.IGNORECASE),
        "auth",
    ),
    (re.compile(r"credit balance is too low|insufficient (?:balance|credits|funds|quota)", re.IGNORECASE), "payment"),
)
"""Phrases that identify an error by its message alone: xAI's and Anthropic's errors are a plain 400."""
STATUSES = ("code", "status", "status_code", "statusCode", "http_status", "error_code")


class ErrorObject:
    """The content of an error object: a message, a status when it gives one as a number or a text, our code for the name that it
    gives itself, and whether a new call may help."""

    def __init__(self, error: Any):
        while isinstance(error, list) and error:
            error = error[0]
        fields: Mapping[str, Any] = error if isinstance(error, dict) else error_in_text(error)
        inside = fields.get("error")
        if isinstance(inside, dict) or (inside := error_in_text(inside)):
            # What stands around it counts where it says nothing itself.
            inside = {name: value for name, value in inside.items() if not is_empty(value)}
            fields = {**{name: value for name, value in fields.items() if name != "error"}, **inside}
        metadata: Mapping[str, Any] = fields["metadata"] if isinstance(fields.get("metadata"), dict) else {}
        inner = upstream_error(metadata.get("raw"))
        kind = metadata.get("error_type")
        self.message = message_of(fields) or shown(fields or error)
        if metadata.get("raw"):
            self.message += f" ({message_of(inner) or shown(metadata['raw'])})"
        codes = [status_of(fields.get(name)) for name in STATUSES]
        self.status = next((code for code in codes if code is not None), None)
        names = [kind, *(each.get(name) for each in (inner, fields) for name in NAMES)]
        names += [each.get("reason") for each in listed(fields.get("details")) if isinstance(each, dict)]  # Google's
        if isinstance(fields.get("error"), str):
            names.append(fields["error"])
        self.named = named([name for name in names if isinstance(name, str)])
        if self.named not in FIRM:
            self.named = next((code for words, code in IN_WORDS if words.search(self.message)), self.named)
        available = fields.get("availability")
        self.retryable: bool | None = None
        if isinstance(available, dict) and isinstance(available.get("retryable"), bool):
            self.retryable = available["retryable"]
        elif isinstance(kind, str) and kind in RETRYABLE_TYPES:
            self.retryable = True
        headers = metadata.get("headers")  # OpenRouter's way to pass on those of its own limits
        self.retry_after_s = (
            hinted_s({str(n).lower(): v for n, v in headers.items()}) if isinstance(headers, dict) else None
        )
        kept = {"provider_code": fields.get("code"), "error_type": kind or fields.get("type")}
        self.details: dict[str, Any] = {
            name: value for name, value in kept.items() if isinstance(value, str | int) and value != ""
        }


def named(names: list[str]) -> str | None:
    """Return our code for the names that an error has, the firm ones first: an exhausted quota may also call itself a rate
    limit."""
    codes = [CODE_OF_NAME.get(re.sub(r"[\s.-]+", "_", name.strip()).lower()) for name in names if len(name) < 100]
    codes += [
        CODE_OF_NAME.get(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()) for name in names if len(name) < 100
    ]
    known = [code for code in codes if code is not None]
    return next((code for code in known if code in FIRM), known[0] if known else None)


def status_of(code: Any) -> int | None:
    """Return an HTTP status, written as a number or a text."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    if isinstance(code, float) and code.is_integer():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599 else None


def message_of(fields: Mapping[str, Any]) -> str:
    """Return the words of an error object; of FastAPI's list of what is wrong each place with its own."""
    for name in (*MESSAGES, "error"):
        said = fields.get(name)
        if isinstance(said, str) and said:
            return said
        if isinstance(said, list) and said:
            places = [each for each in said if isinstance(each, dict)]
            words = [f"{'.'.join(map(str, listed(each.get('loc'))))}: {each.get('msg')}" for each in places[:5]]
            return "; ".join(words) or shown(said)
        if isinstance(said, dict) and said:
            return message_of(said) or shown(said)
    return ""


def error_in_text(text: Any) -> Mapping[str, Any]:
    """Return the error object that a text holds: JSON, or the event of a stream that an error status came with."""
    if not isinstance(text, str):
        return {}
    line = next((line for line in text.splitlines() if line.startswith("data:")), text)
    return upstream_error(line.removeprefix("data:").strip())


def upstream_error(raw: Any) -> Mapping[str, Any]:
    """Return the error of the provider behind a provider, as OpenRouter hands it on: a text of JSON, mostly."""
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            return {}
    while isinstance(raw, list) and raw:
        raw = raw[0]
    if isinstance(raw, dict) and isinstance(raw.get("error"), dict):
        raw = raw["error"]
    return raw if isinstance(raw, dict) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def shown(value: Any) -> str:
    return value if isinstance(value, str) else str(value)[:2000]


def refused(error: BaseException) -> str:
    """Return what the system or TLS said when a connection failed; the SDK's aiohttp transport calls most of that a time-out."""
    cause: BaseException | None = error
    system = ""
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None):  # aiohttp's own subclass has none
            return f"TLS: {cause.reason.lower().replace('_', ' ')}"
        is_systems = isinstance(cause, ConnectionError) or (
            isinstance(cause, OSError) and not isinstance(cause, TimeoutError)
        )
        if is_systems and not system:
            number = cause.errno if isinstance(cause, OSError) else None
            system = os.strerror(number) if number and number > 0 else type(cause).__name__
        cause = cause.__cause__
    return system


def timed_out(error: BaseException) -> bool:
    """Return True if a limit of time ended it. The SDK's aiohttp transport calls a connection that was closed that, too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return not refused(error)
        cause = cause.__cause__
    return False


def without_credentials(error: CallError) -> CallError:
    """Return the error, as it may leave this process: what a provider says may hold the key that it was called with."""
    error.message = scrub(error.message)
    error.args = (error.message,)
    error.partial = error.partial and scrub(error.partial)
    for name in ("errors", "metadata", "provider_code", "error_type", "tool_calls"):
        if name in error.details:
            error.details[name] = scrubbed(error.details[name])
    return error


def unstorable(error: BaseException, counters: dict[str, int], partial: str | None) -> CallError:
    """Return the failure of an answer that was paid, and cannot be written down, or not be read again."""
    message = f"the answer cannot be written as JSON that can be read again: {type(error).__name__}"
    return CallError("invalid_output", message, partial=partial, details={"counters": counters})


def contradiction(what: str, said: str) -> CallError:
    """Return the failure of an answer that says two things. To ask again may bring the same: it is not tried on its own."""
    return CallError(
        "provider_error", f"the provider's answer contradicts itself: {what}", partial=said, retryable=False
    )
