"""The outermost middleware: every request passes it first and every answer last, also for unknown routes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, MutableMapping
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.instruments.meter import Counter
from headrace.instruments.trace_context import TRACEPARENT, asked_within
from headrace_api.access.callers import CallerPolicy
from headrace_api.auth import Denied
from headrace_api.errors import REQUEST_ID, api_error, send_error

NO_STORE = (b"cache-control", b"no-store")
DEFAULTS = (
    NO_STORE,  # prompts, answers, tokens, and errors that quote them
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every answer that does not set them itself."""
FORBIDDEN_CODE = 4403


class AccessMiddleware:
    """An ASGI application around `app`. `responses` counts the answers by their status."""

    def __init__(self, app: ASGIApp, callers: CallerPolicy, responses: Counter):
        self._app = app
        self._responses = responses
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Any = scope.get("headers", ())
        began_s, request_id = time.monotonic(), new_request_id()
        scope[REQUEST_ID] = request_id  # pyright: ignore[reportGeneralTypeIssues]
        try:
            self._callers.check_proxy(headers, scope.get("http_version") or "1.1")
        except Denied as error:
            if scope["type"] == "http":
                self._responses.add((str(api_error(error).status),))
                await send_error(api_error(error), send, [*DEFAULTS, (b"x-request-id", request_id)])
            else:
                await refuse_socket(error, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._responses.add((str(message["status"]),))
                took_ms = b"%d" % (1000 * (time.monotonic() - began_s))
                add_defaults(message, ((b"x-request-id", request_id), (b"openai-processing-ms", took_ms)))
            await send(message)

        with asked_within(header_of(headers, TRACEPARENT)):
            await self._app(scope, receive, sending)


def header_of(headers: Iterable[tuple[bytes, bytes]], name: str) -> str:
    """Return the value of a request's header; empty without it."""
    wanted = name.encode()
    return next((value.decode("latin-1") for each, value in headers if each == wanted), "")


def new_request_id() -> bytes:
    """Return an id of a request, for its answer and the log."""
    return b"req_" + secrets.token_hex(16).encode()


def add_defaults(message: MutableMapping[str, Any], named: tuple[tuple[bytes, bytes], ...]) -> None:
    headers = [(bytes(name).lower(), value) for name, value in message.get("headers", ())]
    said = {name for name, _ in headers}
    message["headers"] = headers + [default for default in DEFAULTS if default[0] not in said] + [*named]


async def refuse_socket(error: Denied, receive: Receive, send: Send) -> None:
    # Accepted first: a browser is told nothing of why a handshake was refused.
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await send({"type": "websocket.close", "code": FORBIDDEN_CODE, "reason": str(error)[:120]})
