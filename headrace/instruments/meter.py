"""Meter: the numbers of one process, by metric and labels.

Recording is an addition in a dict: a bulk item costs 0.25 ms, and is counted several times. Nothing is locked: one event loop
records, and reads. How the numbers are written for Prometheus: `exposition`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from headrace.telemetry import MAX_MODELS, OTHER, Metric

MAX_SERIES = 2_000
"""Combinations of label values of one metric; what is beyond them is counted as `OTHER`."""

Labels = tuple[str, ...]
Gauge = Callable[[], float]


class Counter:
    """A counter of the table, by label values."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric):
        self.metric = metric
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        values = self.values
        if labels in values:
            values[labels] += amount
        else:
            labels = bounded(self.metric, labels, values)
            values[labels] = values.get(labels, 0) + amount


class Distribution:
    """The observations of one histogram under one set of labels: how many fell into each bucket, and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int):
        self.counts = [0] * (buckets + 1)
        self.sum = 0.0


class Histogram:
    """A histogram of the table, by label values."""

    __slots__ = ("_buckets", "metric", "values")

    def __init__(self, metric: Metric):
        self.metric = metric
        self.values: dict[Labels, Distribution] = {}
        self._buckets = metric.buckets

    def observe(self, labels: Labels, value: float) -> None:
        seen = self.values.get(labels)
        if seen is None:
            labels = bounded(self.metric, labels, self.values)
            seen = self.values.setdefault(labels, Distribution(len(self._buckets)))
        seen.counts[bisect_left(self._buckets, value)] += 1
        seen.sum += value


def bounded(metric: Metric, labels: Labels, known: Iterable[Labels]) -> Labels:
    """Return the labels for a new series of the metric: `OTHER` when it has too many. Raises `ValueError` for other labels than
    the table's."""
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {[label.name for label in metric.labels]}")
    return labels if sum(1 for _ in known) < MAX_SERIES else (OTHER,) * len(labels)


class Meter:
    """The instruments of one process. A gauge is a function that is asked when the numbers are read."""

    def __init__(self) -> None:
        self.counters: list[Counter] = []
        self.histograms: list[Histogram] = []
        self.gauges: list[tuple[Metric, Gauge]] = []

    def counter(self, metric: Metric) -> Counter:
        self.counters.append(counter := Counter(metric))
        return counter

    def histogram(self, metric: Metric) -> Histogram:
        self.histograms.append(histogram := Histogram(metric))
        return histogram

    def gauge(self, metric: Metric, read: Gauge) -> None:
        self.gauges.append((metric, read))


class ModelNames:
    """The models that have a label value of their own: those that have answered. Any other name may be anything."""

    def __init__(self, most: int = MAX_MODELS):
        self._names: set[str] = set()
        self._most = most

    def of(self, model: str) -> str:
        return model if model in self._names else OTHER

    def answered(self, model: str) -> str:
        """Return the label value of a model that has answered."""
        if model not in self._names:
            if len(self._names) >= self._most or len(model) > 120 or not model.isprintable():
                return OTHER
            self._names.add(model)
        return model
