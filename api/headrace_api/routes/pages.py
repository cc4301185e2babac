"""The web page and the JS client, as files; `/healthz` for supervisors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from litestar import Response, get

from headrace_api.errors import ApiError
from headrace_api.state import Gateway

FOLDER = Path(__file__).parents[1] / "page"
ANSWER_S = 3.0
FILES = frozenset(file.name for file in FOLDER.iterdir())
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".ts": "text/plain",
    ".svg": "image/svg+xml",
}
# Nothing of other sites is loaded, and nothing of ours may be framed by them.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "cache-control": "no-cache"}


def page(name: str) -> Response[bytes]:
    file = FOLDER / name
    if name not in FILES:
        raise ApiError(404, "not_found", f"there is no page /{name:.80}")
    return Response(file.read_bytes(), media_type=TYPES.get(file.suffix, "application/octet-stream"), headers=HEADERS)


@get("/")
async def index() -> Response[bytes]:
    """Serve the page."""
    return page("index.html")


@get("/{name:str}")
async def asset(name: str) -> Response[bytes]:
    """Serve one of its files; `headrace.js` is the client for pages of your own."""
    return page(name)


@get("/healthz")
async def health(gateway: Gateway) -> Response[dict[str, Any]]:
    """Return 200 and what it holds while it takes requests and the ledger answers; 503 otherwise."""
    try:
        async with asyncio.timeout(ANSWER_S), gateway.client.talking():
            await gateway.client.ledger.ping()
    except TimeoutError:
        raise ApiError(503, "unreachable", f"the ledger has not answered for {ANSWER_S:g} s") from None
    if gateway.draining.is_set():
        raise ApiError(503, "draining", "the gateway is stopping")
    return Response({"status": "ok", **gateway.held()})
