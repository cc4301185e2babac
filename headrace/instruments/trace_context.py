"""Trace context: the `traceparent` (W3C) of whoever asks, which is written into the record beside what is asked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

TRACEPARENT = "traceparent"
FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-[\x21-\x7e]*)?")
MAX_CHARS = 200

_incoming: ContextVar[str] = ContextVar("traceparent", default="")


class TraceParent(NamedTuple):
    """The span that another one belongs to."""

    trace_id: int
    span_id: int
    flags: int

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def parse_traceparent(text: str) -> TraceParent | None:
    """Return the parent that a header names; None for what is none."""
    found = FORM.fullmatch(text.strip()) if len(text) <= MAX_CHARS else None
    return None if found is None else TraceParent(*(int(part, 16) for part in found.groups()))


@contextmanager
def asked_within(header: str) -> Iterator[None]:
    """Have what is submitted within the block belong to the span that a request's header names."""
    parent = parse_traceparent(header)
    token = _incoming.set("" if parent is None else str(parent))
    try:
        yield
    finally:
        _incoming.reset(token)


def current_traceparent() -> str:
    """Return the span under way here: of the request that is answered, or OpenTelemetry's where the program uses it; empty for
    none. It never imports OpenTelemetry."""
    if incoming := _incoming.get():
        return incoming
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None or not hasattr(api, "get_current_span"):
        return ""
    context = api.get_current_span().get_span_context()
    return str(TraceParent(context.trace_id, context.span_id, int(context.trace_flags))) if context.is_valid else ""
