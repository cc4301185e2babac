"""The outermost middleware: every request passes it first and every answer last, also for unknown routes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace_api.access.callers import CallerPolicy
from headrace_api.auth import Denied
from headrace_api.errors import api_error

NO_STORE = (b"cache-control", b"no-store")
DEFAULTS = (
    NO_STORE,  # prompts, answers, tokens, and errors that quote them
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every answer that does not set them itself."""
FORBIDDEN_CODE = 4403


class AccessMiddleware:
    """An ASGI application around `app`."""

    def __init__(self, app: ASGIApp, callers: CallerPolicy):
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Any = scope.get("headers", ())
        try:
            self._callers.check_proxy(headers, scope.get("http_version") or "1.1")
        except Denied as error:
            await (refuse if scope["type"] == "http" else refuse_socket)(error, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                add_defaults(message)
            await send(message)

        await self._app(scope, receive, sending)


def add_defaults(message: MutableMapping[str, Any]) -> None:
    headers = [(bytes(name).lower(), value) for name, value in message.get("headers", ())]
    said = {name for name, _ in headers}
    message["headers"] = headers + [default for default in DEFAULTS if default[0] not in said]


async def refuse(error: Denied, receive: Receive, send: Send) -> None:
    problem = api_error(error)
    body = msgspec.json.encode(problem.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *DEFAULTS]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def refuse_socket(error: Denied, receive: Receive, send: Send) -> None:
    # Accepted first: a browser is told nothing of why a handshake was refused.
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await send({"type": "websocket.close", "code": FORBIDDEN_CODE, "reason": str(error)[:120]})
