"""Spans of a running service, as a collector gets them: one trace from the producer to the calls, in OpenTelemetry's names."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from gateways import ask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from stack import Stack, headrace, started, until

from headrace import Headrace
from headrace.settings import Settings
from headrace.telemetry import SPANS

CANARY = "canaryprompt8"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KNOWN = {span.name: set(span.attributes) for span in SPANS}


class Collector:
    """An OTLP endpoint that keeps every span."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                request = ExportTraceServiceRequest.FromString(body)
                collector.raw += body
                collector.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def of(self, trace_id: str) -> list[Any]:
        return [span for span in self.spans if span.trace_id.hex() == trace_id]

    def named(self, trace_id: str, name: str) -> list[Any]:
        return [span for span in self.of(trace_id) if span.name == name]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    environment = {
        "HEADRACE_TRACES": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with started(tmp_path_factory.mktemp("traces"), "--no-flower", environment=environment) as stack:
        yield stack


def attributes(span: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = getattr(each.value, kind)
    return found


def test_a_request_with_a_traceparent_is_one_trace_down_to_its_calls(stack: Stack, collector: Collector) -> None:
    body = {
        "model": "rehearsal/small",
        "messages": [{"role": "user", "content": f"[[rehearsal fault=500 times=1]] {CANARY}"}],
        "stream": True,
    }
    header = f"00-{TRACE}-{PARENT}-01"
    answer = ask(f"{stack.ready['gateway']}/v1/chat/completions", "POST", body, traceparent=header)
    assert answer.status == 200
    until(lambda: collector.named(TRACE, "job"), what="the job's span has come")
    (job,), (attempt,) = collector.named(TRACE, "job"), collector.named(TRACE, "attempt")
    first, second = sorted(collector.named(TRACE, "chat small"), key=lambda span: span.start_time_unix_nano)
    assert job.parent_span_id.hex() == PARENT
    assert attempt.parent_span_id == job.span_id
    assert {first.parent_span_id, second.parent_span_id} == {attempt.span_id}
    assert job.start_time_unix_nano <= attempt.start_time_unix_nano <= first.start_time_unix_nano
    told = attributes(second)
    call = stack.calls()[-1]
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("rehearsal", "small")
    assert told["gen_ai.request.stream"] is True
    assert told["gen_ai.usage.output_tokens"] == stack.calls()[-1].tokens
    assert told["gen_ai.response.time_to_first_chunk"] > 0
    assert told["headrace.record"] == attributes(job)["headrace.record"] == (call.request_id or "").partition(".")[0]
    assert (attributes(first)["error.type"], attributes(first)["headrace.call"]) == ("provider_unavailable", 1)
    assert attributes(job)["headrace.state"] == "succeeded"


def test_a_batch_of_a_program_with_a_span_belongs_to_it(stack: Stack, collector: Collector) -> None:
    tracer = TracerProvider().get_tracer("program")
    settings = Settings(redis_url=stack.ready["redis"], files=stack.ready["files"])
    with Headrace(settings=settings) as client, tracer.start_as_current_span("nightly") as span:
        batch = client.extract([{"text": f"{CANARY} {n}"} for n in range(5)], model="rehearsal/small", cache=False)
        batch.wait()
        job = client.submit("rehearsal/small", CANARY)
        job.result()
    context = span.get_span_context()
    trace = f"{context.trace_id:032x}"
    until(lambda: collector.named(trace, "batch") and collector.named(trace, "job"), what="both have come")
    (of_batch,) = collector.named(trace, "batch")
    assert of_batch.parent_span_id.hex() == f"{context.span_id:016x}"
    assert attributes(of_batch) == {"headrace.record": batch.id, "headrace.state": "completed"}
    attempts = [each for each in collector.named(trace, "attempt") if each.parent_span_id == of_batch.span_id]
    assert {attributes(each)["headrace.kind"] for each in attempts} == {"shard", "join"}
    calls = [
        each for each in collector.named(trace, "chat small") if attributes(each)["headrace.record"].startswith("batch")
    ]
    assert len(calls) == 5
    assert {each.parent_span_id for each in calls} <= {each.span_id for each in attempts}


def test_a_failed_job_without_a_traceparent_is_a_trace_of_its_own(stack: Stack, collector: Collector) -> None:
    done = stack.run("run", f"[[rehearsal fault=400]] {CANARY}", "--model", "rehearsal/small", "--detach")
    job_id = done.stdout.strip()

    def of_job() -> list[Any]:
        return [each for each in collector.spans if attributes(each).get("headrace.record") == job_id]

    until(lambda: len(of_job()) == 3, what="its three spans have come")
    assert {each.trace_id for each in of_job()} == {of_job()[0].trace_id}
    roots = [each for each in of_job() if not each.parent_span_id]
    assert [each.name for each in roots] == ["job"]
    assert attributes(roots[0])["error.type"] == "invalid_request"


def test_every_span_is_of_the_table_and_holds_no_prompt(collector: Collector) -> None:
    assert len(collector.spans) >= 7
    for span in collector.spans:
        name = "chat {model}" if span.name.startswith("chat ") else span.name
        assert set(attributes(span)) <= KNOWN[name], span.name
        assert not span.events
    assert CANARY.encode() not in collector.raw


def test_a_collector_that_is_away_costs_no_job_and_no_stop(stack: Stack) -> None:
    with started(
        stack.folder / "away",
        "--no-flower",
        "--no-gateway",
        environment={"HEADRACE_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ) as away:
        done = headrace("run", "Hello.", "--model", "rehearsal/small", env=away.client_environment, cwd=away.folder)
        assert done.returncode == 0, done.stderr
        logs = "".join(path.read_text() for path in (away.folder / ".headrace" / "logs").glob("*.log"))
        assert "Traceback" not in logs
