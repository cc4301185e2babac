"""The results as Markdown: a table a subject, with what it was measured on, and the plots."""

from __future__ import annotations

from bench.report.figures import Results, Row, Subject, number
from bench.report.plots import plots

TITLES = {
    "sdk": "The client",
    "provider": "A call of a provider class",
    "departure": "From submission to the provider",
    "floor": "A call to a provider, and the least that it could cost",
    "stages": "The stages of a bulk item",
    "redis": "Traffic to Redis",
    "schemas": "Schemas",
    "streams": "Streams, worker to viewer",
    "gateway_streams": "Streams, provider to viewer of a gateway",
    "bulk": "Bulk extraction beside its peers",
    "latency": "Bulk extraction from slow providers",
    "chat": "Plain chat through the gateway, beside LiteLLM's proxy",
    "million": "A large batch",
}


def table(results: Results, *, images: str = "") -> str:
    """Return all subjects; `images` is the path that leads to the plots, empty or ending in a slash."""
    drawn = plots(results)
    parts = [subject_part(each, images if f"{each.name}.svg" in drawn else None) for each in results.subjects]
    return "\n\n".join(parts)


def subject_part(subject: Subject, images: str | None) -> str:
    title = TITLES.get(subject.name, subject.name)
    lines = [f"## {title}", "", f"Measured {subject.date} at {subject.commit} on {subject.machine}."]
    if subject.versions:
        lines += [f"Versions: {', '.join(f'{name} {number}' for name, number in subject.versions.items())}."]
    if subject.absent:
        lines += [f"Absent: {', '.join(f'{name} ({reason})' for name, reason in subject.absent.items())}."]
    has_remarks = any(row.remark for row in subject.rows)
    lines += ["", "| what | measured | budget | holds |" + (" remark |" if has_remarks else "")]
    lines += ["|---|---|---|---|" + ("---|" if has_remarks else "")]
    lines += [line(row) + (f" {row.remark} |" if has_remarks else "") for row in subject.rows]
    if images is not None:
        lines += ["", f"![{title}]({images}{subject.name}.svg)"]
    return "\n".join(lines)


def line(row: Row) -> str:
    sign = "≤" if row.at_most else "≥"
    budget = "" if row.budget is None else f"{sign} {number(row.budget)}"
    holds = {None: "", True: "yes", False: "**no**"}[row.holds]
    return f"| {row.name} | {number(row.value)} {row.unit} | {budget} | {holds} |"
