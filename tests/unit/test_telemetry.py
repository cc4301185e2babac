"""The one table of metrics: its form, and that code, docs, dashboard and alerts name nothing beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace import telemetry
from headrace.telemetry import METRICS, Metric

ROOT = Path(__file__).parents[2]
PACKAGES = ("headrace", "worker", "api", "providers")
DEPLOY = ROOT / "deploy"
LABELS = {
    *("provider", "model", "outcome", "code", "kind", "state", "queue", "reason", "limit_of", "limit", "budget"),
    *("status", "cause"),
}
"""All labels there are. What is unbounded, or somebody's, is none: ids, prompts, keys, users, tenants, addresses."""
OF_PROMETHEUS = {"le", "instance", "role", "job"}
"""Labels that the scrape adds."""
BY_NAME = {metric.name: metric for metric in METRICS}
METRIC_NAME = re.compile(r"\bheadrace_[a-z_]+\b")


def constants() -> dict[str, Metric]:
    return {name: value for name, value in vars(telemetry).items() if isinstance(value, Metric)}


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "telemetry.py"
    }


def test_the_table_has_every_metric_once() -> None:
    assert sorted(metric.name for metric in constants().values()) == sorted(BY_NAME)
    assert len(BY_NAME) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_has_it(metric: Metric) -> None:
    assert METRIC_NAME.fullmatch(metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.unit in metric.name
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    assert {label.name for label in metric.labels} <= LABELS
    assert len({label.name for label in metric.labels}) == len(metric.labels)
    assert metric.help
    assert not metric.help.endswith(".")


def test_code_tells_every_metric_and_by_its_constant_alone() -> None:
    code = sources()
    everything = "\n".join(code.values())
    untold = {name for name in constants() if not re.search(rf"\btelemetry\.{name}\b|import .*\b{name}\b", everything)}
    assert untold == set()
    packages = {"headrace_api", "headrace_worker", "headrace_providers", "headrace_rehearsal", "headrace_service"}
    spelled = {
        (path, name)
        for path, text in code.items()
        for name in METRIC_NAME.findall(text)
        if name in BY_NAME or (name.endswith(("_total", "_seconds", "_bytes")) and name not in packages)
    }
    assert spelled == set()


def test_docs_have_a_row_for_every_metric() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert sorted(re.findall(r"^\| `(headrace_\w+)` \|", page, re.MULTILINE)) == sorted(BY_NAME)
    assert not unknown(page)


def dashboard() -> list[tuple[str, str]]:
    panels: list[dict[str, Any]] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def alerts() -> list[tuple[str, str]]:
    groups = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


def named(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression. Words that end in `(`, labels and strings are none."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare) if word not in ("and", "or", "unless")}


def labels_in(expression: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    matched = re.findall(r"\{([^}]*)\}", expression)
    names = {name.strip() for group in grouped for name in group.split(",")}
    return names | {name for group in matched for name in re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", group)}


def series(name: str) -> str:
    """The metric that a time series is of: a histogram has several."""
    histogram = re.sub(r"_(bucket|sum|count)$", "", name)
    return histogram if histogram in BY_NAME and BY_NAME[histogram].kind == "histogram" else name


def unknown(text: str) -> set[str]:
    names = {name for name in METRIC_NAME.findall(text) if name.startswith("headrace_")}
    return {name for name in names if series(name) not in BY_NAME}


@pytest.mark.parametrize(("title", "expression"), [*dashboard(), *alerts()])
def test_an_expression_names_metrics_of_the_table_and_their_labels(title: str, expression: str) -> None:
    names = named(expression)
    assert names, title
    for name in names:
        metric = BY_NAME[series(name)]
        assert (series(name) != name) == (metric.kind == "histogram"), f"{title}: {name}"
        if metric.kind == "counter":
            assert re.search(rf"(rate|increase)\({name}\b", expression), f"{title}: a counter is looked at by its rate"
        if metric.source == "ledger":
            assert not re.search(r"\bsum\b", expression), f"{title}: every process says the same"
    known = {label.name for name in names for label in BY_NAME[series(name)].labels} | OF_PROMETHEUS
    assert labels_in(expression) <= known, title


def test_names_in_an_expression_are_found() -> None:
    expression = 'sum by (le, a) (rate(x_bucket{b="y_total", c!~"z"}[5m])) / max(q) > 0.5 and on (d) w'
    assert named(expression) == {"x_bucket", "q", "w"}
    assert labels_in(expression) == {"le", "a", "b", "c", "d"}
    assert unknown("headrace_calls_total headrace_call_seconds_bucket headrace_calls_bucket") == {
        "headrace_calls_bucket"
    }


def test_the_dashboard_shows_every_metric() -> None:
    shown = {series(name) for _, expression in dashboard() for name in named(expression)}
    assert set(BY_NAME) == shown


def test_every_alert_says_what_to_do() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= labels_in(rule["expr"]), rule["alert"]


def test_the_scrape_configuration_names_files_that_are_there() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert all((DEPLOY / name).exists() for name in scrape["rule_files"])
    assert {each["job_name"] for each in scrape["scrape_configs"]} == {"headrace-gateway", "headrace-workers"}
