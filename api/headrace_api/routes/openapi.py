"""`GET /v1/openapi.json`: what the routes take and answer, for people and for generators of clients."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get

from headrace_api.shapes.document import document


@get("/v1/openapi.json")
async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return this document."""
    return Response(encoded(request.app), media_type="application/json")


@lru_cache(maxsize=1)
def encoded(app: Litestar) -> bytes:
    return msgspec.json.encode(document(app.routes))
