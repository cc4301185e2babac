"""Patience of a caller with a provider that limits its rate: at its end it is told, and its own retry is given the answer."""

from __future__ import annotations

import time
from typing import Any

from litestar import Request

from headrace.events.ids import Event
from headrace.events.types import Status, beginning
from headrace_api.errors import ApiError, rate_limited

DEFAULT_S = 60.0
MARGIN_S = 5.0
"""Seconds before a client's own timeout at which it is answered at the latest."""
TIMEOUT_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Headers in which OpenAI's clients say their timeout, in seconds: Python's, Node's."""
RATE_LIMITED = "rate_limited"
STATUS = beginning(Status)


def patience_of(request: Request[Any, Any, Any]) -> float:
    """Return the seconds for which the caller may be kept waiting for a rate limit."""
    for name in TIMEOUT_HEADERS:
        given = request.headers.get(name, "")
        try:
            timeout_s = float(given)
        except ValueError:
            continue
        if 0 < timeout_s < float("inf"):
            return max(0.0, timeout_s - MARGIN_S)
    return DEFAULT_S


def limit_of(event: Event, job: str, patience_s: float) -> ApiError | None:
    """Return the answer to a caller with `patience_s` when `event` says that the job waits longer for its provider; else None."""
    if not event.data.startswith(STATUS):
        return None
    status = event.decode(job)
    if not isinstance(status, Status) or status.phase != RATE_LIMITED or status.until_ms is None:
        return None
    wait_s = status.until_ms / 1000 - time.time()
    return rate_limited(job, status.detail, wait_s) if wait_s > patience_s else None
