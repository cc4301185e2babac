"""The numbers of a process: bounded series, histograms, and the text that Prometheus reads."""

from __future__ import annotations

import pytest
from headrace_worker.observability.worker_meter import WorkerMeter
from prometheus_client.parser import text_string_to_metric_families

from headrace import telemetry
from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError
from headrace.instruments.exposition import exposition
from headrace.instruments.meter import MAX_SERIES, Meter, ModelNames
from headrace.instruments.scrape_access import has_token, names_loopback
from headrace.telemetry import METRICS, OTHER

ANSWER = Completion(
    id="c",
    model="m",
    created=0,
    content="a secret answer",
    finish_reason="stop",
    usage=Usage(input_tokens=10, output_tokens=3, cached_tokens=4),
    cost=0.25,
)


def samples(meter: Meter, accept: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(meter, {}, accept)[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_histogram_counts_into_cumulative_buckets() -> None:
    meter = Meter()
    lag = meter.histogram(telemetry.LOOP_LAG)
    for value in (0.0, 0.001, 0.0011, 3.0, 100.0):
        lag.observe((), value)
    found = samples(meter)
    name = telemetry.LOOP_LAG.name
    assert [found[f"{name}_bucket", (("le", bound),)] for bound in ("0.001", "0.005", "2.5", "10", "+Inf")] == [
        2,
        3,
        3,
        4,
        5,
    ]
    assert (found[f"{name}_count", ()], found[f"{name}_sum", ()]) == (5, pytest.approx(103.0021))


def test_series_are_bounded_and_what_is_beyond_is_counted_together() -> None:
    meter = Meter()
    counter = meter.counter(telemetry.FALLBACKS)
    for number in range(MAX_SERIES + 50):
        counter.add((f"p{number}", "timeout"))
    counter.add(("p1", "timeout"))
    assert len(counter.values) == MAX_SERIES + 1
    assert counter.values[OTHER, OTHER] == 50
    assert counter.values["p1", "timeout"] == 2


def test_refuses_labels_that_the_table_does_not_have() -> None:
    with pytest.raises(ValueError, match="headrace_fallbacks_total"):
        Meter().counter(telemetry.FALLBACKS).add(("provider",))


def test_a_model_has_a_label_once_it_has_answered() -> None:
    meter = WorkerMeter(clock=lambda: 0.0)
    meter.call("openai", "my prompt as a model").failed(CallError("not_found", "no such model"))
    meter.call("openai", "gpt").answered(ANSWER)
    limited = meter.call("openai", "gpt")
    limited.failed(CallError("rate_limited", "wait", status=429))
    limited.close()
    meter.call("openai", "gpt").close()
    meter.call("openai", "gpt").withdraw()
    found = samples(meter.meter)
    outcomes = {
        (labels["model"], labels["outcome"]): value
        for (name, pairs), value in found.items()
        if name == telemetry.CALLS.name and (labels := dict(pairs))
    }
    assert outcomes == {(OTHER, "not_found"): 1, ("gpt", "ok"): 1, ("gpt", "rate_limited"): 1, ("gpt", "cancelled"): 1}
    assert found[telemetry.CALLS_IN_FLIGHT.name, ()] == 0
    assert found[telemetry.COST.name, (("model", "gpt"), ("provider", "openai"))] == 0.25
    assert found[telemetry.TOKENS.name, (("kind", "cached"), ("model", "gpt"), ("provider", "openai"))] == 4
    assert found[telemetry.RATE_LIMITED.name, (("model", "gpt"), ("provider", "openai"))] == 1


def test_an_invalid_answer_that_was_paid_counts_with_its_tokens() -> None:
    meter = WorkerMeter(clock=lambda: 0.0)
    failure = CallError("invalid_output", "no", details={"usage": Usage(5, 7), "cost": None})
    meter.call("openai", "gpt").failed(failure)
    found = samples(meter.meter)
    assert found[telemetry.TOKENS.name, (("kind", "output"), ("model", "gpt"), ("provider", "openai"))] == 7
    assert found[telemetry.UNPRICED.name, (("model", "gpt"), ("provider", "openai"))] == 1


def test_odd_and_many_names_of_models_are_other() -> None:
    names = ModelNames(most=2)
    assert [names.answered(name) for name in ("a", "b\n", "b" * 121, "c", "d", "a")] == [
        "a",
        OTHER,
        OTHER,
        "c",
        OTHER,
        "a",
    ]
    assert names.of("d") == OTHER


def test_label_values_are_escaped_and_both_formats_are_written() -> None:
    meter = Meter()
    meter.counter(telemetry.REASKS).add(('a"b\\c\nd',))
    assert samples(meter)[telemetry.REASKS.name, (("provider", 'a"b\\c\nd'),)] == 1
    body, content_type = exposition(meter, {}, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_all_metrics_of_a_worker_are_those_that_the_table_says_it_has() -> None:
    meter = WorkerMeter().meter
    told = {each.metric for each in (*meter.counters, *meter.histograms)} | {metric for metric, _ in meter.gauges}
    assert told == {metric for metric in METRICS if metric.source == "worker"} - {telemetry.HELD, telemetry.LEADS}


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        ("Bearer 0123456789abcdef", True),
        ("bearer  0123456789abcdef ", True),
        ("Bearer x", False),
        ("", False),
        ("Basic 0123456789abcdef", False),
        ("Bearer é", False),
    ],
)
def test_a_scraper_has_the_token(header: str, holds: bool) -> None:
    assert has_token(header, "0123456789abcdef") is holds
    assert not has_token(header, None)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost:9464", True),
        ("127.0.0.1", True),
        ("127.0.0.1:1", True),
        ("[::1]:9464", True),
        ("[::1]", True),
        ("evil.example:9464", False),
        ("10.0.0.1:9464", False),
        ("", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_named_as_no_page_can(host: str, is_ours: bool) -> None:
    assert names_loopback(host) is is_ours
