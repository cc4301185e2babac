"""Requests that create something: their digest, their idempotency key, and the mark of a client's own retry."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request

from headrace.jobs.build import checked_key
from headrace.ledger.creation import Creation
from headrace_api.requests.answer_delivery import RETRY_COUNT


def creation_of(request: Request[Any, Any, Any], kind: Literal["file", "batch", "retry"], digest: str) -> Creation:
    """Return how the ledger is to remember the request. Raises `InputError` for a key that is none."""
    again = request.headers.get(RETRY_COUNT, "").strip().lstrip("0").isdecimal()
    return Creation(kind, digest, checked_key(request.headers.get("idempotency-key") or None), again)
