"""Exposition: the numbers of a process as Prometheus reads them, over `prometheus-client` (the extra `metrics`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from headrace.errors import SettingsError
from headrace.instruments.meter import Labels, Meter
from headrace.telemetry import Metric

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Samples = Mapping[Metric, Mapping[Labels, float]]
"""Numbers that were read elsewhere: of the ledger."""


def check_installed(what: str) -> None:
    """Raise `SettingsError` about `what` where the extra `metrics` is not installed."""
    if find_spec("prometheus_client") is None:
        raise SettingsError(f"{what} needs the extra `metrics`: pip install 'headrace[metrics]'")


def exposition(meter: Meter, samples: Samples, accept: str = "") -> tuple[bytes, str]:
    """Return the text of all numbers, in the format that the header `accept` asks for, and its content type. Imports
    prometheus-client (60 ms) at its first call."""
    from prometheus_client.exposition import choose_encoder

    encode: Callable[[Any], bytes]
    encode, content_type = choose_encoder(accept)
    return encode(Numbers(meter, samples)), content_type


class Numbers:
    """The numbers in the form of a registry: what `generate_latest` collects from."""

    def __init__(self, meter: Meter, samples: Samples):
        self._meter = meter
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for counter in self._meter.counters:
            yield filled(CounterMetricFamily, counter.metric, counter.values.items())
        for metric, read in self._meter.gauges:
            yield filled(GaugeMetricFamily, metric, [((), read())])
        for histogram in self._meter.histograms:
            metric = histogram.metric
            family = HistogramMetricFamily(metric.name, metric.help, labels=names(metric))
            bounds = [*(format(bound, "g") for bound in metric.buckets), "+Inf"]
            for labels, seen in histogram.values.items():
                buckets = list(zip(bounds, map(float, accumulate(seen.counts)), strict=True))
                family.add_metric(labels, buckets, seen.sum)
            yield family
        for metric, values in self._samples.items():
            type = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            yield filled(type, metric, values.items())


def filled(type: Any, metric: Metric, values: Iterable[tuple[Labels, float]]) -> Family:
    family = type(metric.name, metric.help, labels=names(metric))
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def names(metric: Metric) -> list[str]:
    return [label.name for label in metric.labels]
