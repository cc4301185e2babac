"""Spans by OpenTelemetry (the extra `otel`), sent as its own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, …).

A record's trace needs nothing but its id: the span of a job or a batch has an id that is made of it, so that attempts in any
worker belong to it before it is written, at its end. Its trace is the producer's, or else one made of the id as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import SettingsError
from headrace.instruments.trace_context import TraceParent, parse_traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.util.types import AttributeValue

NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
FLUSH_MS = 2_000
SAMPLED = 1
Attributes = Mapping[str, "AttributeValue"]


def check_otel_installed() -> None:
    """Raise `SettingsError` where the extra `otel` is not installed."""
    for name in NEEDED:
        try:
            found = find_spec(name)
        except (ModuleNotFoundError, ValueError):
            found = None
        if found is None:
            raise SettingsError("HEADRACE_TRACES needs the extra `otel`: pip install 'headrace[otel]'")


def span_id_of(record_id: str) -> int:
    """Return the id of the span of a job or a batch."""
    return int.from_bytes(sha256(b"span " + record_id.encode()).digest()[:8], "big") or 1


class Tracer:
    """The spans of one process, the service `name`. Raises `SettingsError` without the extra."""

    def __init__(self, name: str, exporter: Any = None):
        check_otel_installed()
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """Random ids, but for a span whose ids are known beforehand."""

            next_span_id: int | None = None
            next_trace_id: int | None = None

            def generate_span_id(self) -> int:
                known, self.next_span_id = self.next_span_id, None
                return super().generate_span_id() if known is None else known

            def generate_trace_id(self) -> int:
                known, self.next_trace_id = self.next_trace_id, None
                return super().generate_trace_id() if known is None else known

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter()
        self._ids = Ids()
        resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": name})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("headrace")

    def trace_of(self, record_id: str, traceparent: str) -> TraceParent:
        """Return the span of a record as the parent of its attempts."""
        asked = parse_traceparent(traceparent)
        if asked is not None:
            return TraceParent(asked.trace_id, span_id_of(record_id), asked.flags)
        trace_id = int.from_bytes(sha256(b"trace " + record_id.encode()).digest()[:16], "big") or 1
        sampling = self._provider.sampler.should_sample(None, trace_id, "job")
        return TraceParent(trace_id, span_id_of(record_id), SAMPLED if sampling.decision.is_sampled() else 0)

    @contextmanager
    def attempt(self, record_id: str, kind: str, epoch: int, *, of: str, traceparent: str) -> Iterator[None]:
        """Have the block be an attempt at a record that belongs to the job or the batch `of`."""
        from opentelemetry.trace import use_span

        attributes: Attributes = {"headrace.record": record_id, "headrace.kind": kind, "headrace.epoch": epoch}
        span = self._tracer.start_span("attempt", context_of(self.trace_of(of, traceparent)), attributes=attributes)
        # An exception's text may hold what was asked: its class is all that is told.
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                fail(span, type(error).__name__)
                raise

    def call(self, model: str, attributes: Attributes) -> OtelSpan:
        """Begin the span of a call to a provider, within the attempt under way; whoever asks ends it."""
        from opentelemetry.trace import SpanKind

        shown = model if len(model) <= 120 and model.isprintable() else "other"
        return self._tracer.start_span(f"chat {shown}", kind=SpanKind.CLIENT, attributes=attributes)

    def ended(
        self,
        record_id: str,
        kind: Literal["job", "batch"],
        *,
        traceparent: str,
        created_ms: int,
        state: str,
        code: str = "",
    ) -> None:
        """Write the span of a record that has ended: from its submission until now."""
        own, asked = self.trace_of(record_id, traceparent), parse_traceparent(traceparent)
        if not own.flags & SAMPLED:
            return
        self._ids.next_span_id = own.span_id
        if asked is None:
            self._ids.next_trace_id = own.trace_id
        span = self._tracer.start_span(
            kind,
            context_of(asked),
            attributes={"headrace.record": record_id, "headrace.state": state},
            start_time=created_ms * 1_000_000,
        )
        if code or state not in ("succeeded", "completed"):
            fail(span, code or state)
        span.end()

    def close(self) -> None:
        """Send what is left, for two seconds at most."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()


def context_of(parent: TraceParent | None) -> Any:
    """Return the context below a span; for None one below nothing."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if parent is None:
        return Context()
    known = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
    return set_span_in_context(NonRecordingSpan(known), Context())


def fail(span: OtelSpan, error_type: str) -> None:
    """Mark a span as failed, by a word that is no text of an exception."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))
