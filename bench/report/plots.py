"""Bar plots as SVG. Grey text and plain bars are readable on a light and on a dark page alike."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from bench.report.figures import Results, Row, number

WIDTH, LABELS, BAR, GAP, TOP = 720, 250, 18, 8, 34
TEXT, OURS, THEIRS = "#7d8590", "#2f81f7", "#8b949e"
PLOTS = {
    "bulk": ("items per CPU-second",),
    "chat": ("plain chats a second, 50 in flight", "CPU of a plain chat"),
}
"""Of each subject, the figures that are drawn: a bar for every row called `<figure>, <who>`."""


class Bar(NamedTuple):
    label: str
    value: float

    @property
    def colour(self) -> str:
        return OURS if self.label == "headrace" else THEIRS


def plots(results: Results) -> dict[str, str]:
    """Return the plots by file name, for the subjects that have figures to compare."""
    drawn = {}
    for subject in results.subjects:
        groups = [(name, bars_of(subject.rows, name)) for name in PLOTS.get(subject.name, ())]
        groups = [(f"{name} ({unit})", bars) for name, (unit, bars) in groups if len(bars) > 1]
        if groups:
            drawn[f"{subject.name}.svg"] = svg(groups)
    return drawn


def bars_of(rows: Sequence[Row], name: str) -> tuple[str, list[Bar]]:
    """Return the unit and the bars of a figure, in the order of the rows."""
    found = [row for row in rows if row.name.startswith(f"{name}, ")]
    return (found[0].unit if found else ""), [Bar(row.name.removeprefix(f"{name}, "), row.value) for row in found]


def svg(groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Draw groups of horizontal bars, each with a title and a scale of its own, one below the other."""
    parts, top = [], 0
    for title, bars in groups:
        parts.append(f'<text x="0" y="{top + 18}" font-weight="bold">{escape(title)}</text>')
        longest = max(bar.value for bar in bars) or 1.0
        for place, bar in enumerate(bars):
            y = top + TOP + place * (BAR + GAP)
            width = max(round(bar.value / longest * (WIDTH - LABELS - 80), 1), 1)
            parts += [
                f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>',
                f'<rect x="{LABELS}" y="{y}" width="{width}" height="{BAR}" rx="2" fill="{bar.colour}"/>',
                f'<text x="{LABELS + width + 6}" y="{y + 13}">{number(bar.value)}</text>',
            ]
        top += TOP + len(bars) * (BAR + GAP) + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    style = f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}"'
    return "\n".join([f"{head} {style}>", *parts, "</svg>"]) + "\n"
