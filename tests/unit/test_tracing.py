"""Spans: whose they are by ids alone, sampling, and that nothing of an exception's text is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from headrace_worker.observability.worker_meter import WorkerMeter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext

from headrace.instruments.trace_context import asked_within, current_traceparent, parse_traceparent
from headrace.instruments.tracing import Tracer, span_id_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"


class Collected(SpanExporter):
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: object) -> SpanExportResult:
        self.spans += spans  # pyright: ignore[reportOperatorIssue]
        return SpanExportResult.SUCCESS


def context_of(span: ReadableSpan) -> SpanContext:
    assert span.context is not None
    return span.context


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "00-0-0-01",
            PARENT.upper(),
            "ff" + PARENT[2:],
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        ),
        *(PARENT.replace("b7ad6b7169203331", "0" * 16), PARENT + "\nx", PARENT + "x" * 300, "a prompt"),
    ],
)
def test_what_is_no_traceparent_is_none(text: str) -> None:
    assert parse_traceparent(text) is None
    with asked_within(text):
        assert current_traceparent() == ""


def test_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert str(parse_traceparent(f"01{PARENT[2:]}-more")) == PARENT


def test_attempts_in_two_processes_belong_to_the_span_that_is_written_at_the_end() -> None:
    collected = Collected()
    for _ in range(2):
        tracer = Tracer("worker", collected)
        with tracer.attempt("job_a", "job", 1, of="job_a", traceparent=PARENT):
            tracer.call("gpt", {}).end()
        tracer.close()
    tracer = Tracer("worker", collected)
    tracer.ended("job_a", "job", traceparent=PARENT, created_ms=1_000, state="failed", code="timeout")
    tracer.close()
    chat, attempt, _, other, job = collected.spans
    assert {context_of(span).trace_id for span in collected.spans} == {0x0AF7651916CD43DD8448EB211C80319C}
    assert context_of(job).span_id == span_id_of("job_a")
    assert job.parent is not None
    assert job.parent.span_id == 0xB7AD6B7169203331
    assert job.start_time == 1_000_000_000
    assert dict(job.attributes or {})["error.type"] == "timeout"
    for each in (attempt, other):
        assert each.parent is not None
        assert each.parent.span_id == span_id_of("job_a")
    assert chat.parent is not None
    assert chat.parent.span_id == context_of(attempt).span_id


def test_without_a_producers_span_a_record_is_a_root_of_a_trace_of_its_own() -> None:
    collected = Collected()
    tracer = Tracer("worker", collected)
    with tracer.attempt("batch_a.s1", "shard", 1, of="batch_a", traceparent=""):
        pass
    tracer.ended("batch_a", "batch", traceparent="", created_ms=1, state="completed")
    tracer.close()
    attempt, batch = collected.spans
    assert batch.parent is None
    assert attempt.parent is not None
    assert attempt.parent.span_id == context_of(batch).span_id
    assert context_of(attempt).trace_id == context_of(batch).trace_id


def test_what_its_producer_does_not_sample_is_not_sent() -> None:
    collected = Collected()
    tracer = Tracer("worker", collected)
    with tracer.attempt("job_a", "job", 1, of="job_a", traceparent=UNSAMPLED):
        tracer.call("gpt", {}).end()
    tracer.ended("job_a", "job", traceparent=UNSAMPLED, created_ms=1, state="succeeded")
    tracer.close()
    assert collected.spans == []


def test_the_sampler_of_the_environment_decides_alike_for_attempts_and_their_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    collected = Collected()
    tracer = Tracer("worker", collected)
    for number in range(60):
        with tracer.attempt(f"job_{number}", "job", 1, of=f"job_{number}", traceparent=""):
            pass
        tracer.ended(f"job_{number}", "job", traceparent="", created_ms=1, state="succeeded")
    tracer.close()
    by_trace: dict[int, set[str]] = {}
    for span in collected.spans:
        by_trace.setdefault(context_of(span).trace_id, set()).add(span.name)
    assert 10 < len(by_trace) < 50
    assert all(names == {"attempt", "job"} for names in by_trace.values())


def test_an_exception_is_told_by_its_class_alone() -> None:
    collected = Collected()
    tracer = Tracer("worker", collected)
    with pytest.raises(ValueError, match="prompt"), tracer.attempt("job_a", "job", 1, of="job_a", traceparent=""):
        raise ValueError("a secret prompt")
    tracer.close()
    (span,) = collected.spans
    assert "prompt" not in span.to_json()
    assert dict(span.attributes or {})["error.type"] == "ValueError"


def test_a_call_that_was_withdrawn_has_no_span() -> None:
    collected = Collected()
    tracer = Tracer("worker", collected)
    meter = WorkerMeter(tracer=tracer)
    withdrawn = meter.call("openai", "gpt")
    withdrawn.withdraw()
    withdrawn.close()
    tracer.close()
    assert collected.spans == []


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    """redis-py imports its metrics wherever it is installed: so it is made not to be."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = sys.modules['prometheus_client'] = None\n"
        "import headrace_worker.tasks, headrace_worker.worker_process, headrace_api.app, headrace.client.async_client\n"
        "from headrace.instruments.trace_context import current_traceparent\n"
        "assert current_traceparent() == ''\n"
        "from headrace.errors import SettingsError\n"
        "from headrace.instruments.tracing import Tracer\n"
        "try:\n    Tracer('x')\nexcept SettingsError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "HEADRACE_TRACES needs the extra `otel`: pip install 'headrace[otel]'", done.stderr


def test_a_worker_does_not_load_what_sends_spans() -> None:
    program = (
        "import sys, headrace_worker.tasks\nprint([n for n in sys.modules if n.startswith('opentelemetry.exporter')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
