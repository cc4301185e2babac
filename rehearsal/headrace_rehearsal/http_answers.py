"""The HTTP form of answers that are JSON: of those that succeed, and of refusals in each dialect's words."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from headrace_rehearsal.dialects import OpenAIDialect, RefusedRequest
from headrace_rehearsal.faults import Orders

encode = msgspec.json.Encoder().encode


def raise_ordered(orders: Orders) -> None:
    """Raise the error that `orders` ask for."""
    status = int(orders.fault) if orders.fault and orders.fault.isdecimal() else 500
    code = "rate_limit_exceeded" if status == 429 else None
    refused = RefusedRequest(status, f"Rehearsal answers {status}, as it was ordered to.", code=code)
    if status == 429 or orders.retry_after_s is not None:
        refused.retry_after_s = 1.0 if orders.retry_after_s is None else orders.retry_after_s
    raise refused


def error_response(refused: RefusedRequest, dialect: OpenAIDialect) -> web.Response:
    response = json_response(dialect.error(refused), status=refused.status)
    if refused.retry_after_s is not None:
        response.headers["Retry-After"] = f"{refused.retry_after_s:g}"
    return response


def json_response(body: Any, request_id: str = "", status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json"} | ({"x-request-id": request_id} if request_id else {})
    return web.Response(body=encode(body), status=status, headers=headers)
