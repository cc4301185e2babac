"""Figures with their budgets, by subject, and the file that they are kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

RESULTS = Path(__file__).parents[1] / "results"
LATEST = RESULTS / "latest.json"


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure. `holds` is None where there is no budget; `remark` is what a reader has to know of it."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    at_most: bool = False
    holds: bool | None = None
    remark: str = ""


class Figures(NamedTuple):
    """What measuring a subject gives: rows, the versions of the peers, and who was absent for which reason."""

    rows: Sequence[Row]
    versions: Mapping[str, str] = MappingProxyType({})
    absent: Mapping[str, str] = MappingProxyType({})


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The figures of one subject, which were measured together: when, at which commit, on what, against which versions.

    `absent` names the peers that were not measured, with the reason.
    """

    name: str
    date: str
    commit: str
    machine: str
    rows: Sequence[Row]
    versions: dict[str, str] = {}
    absent: dict[str, str] = {}


class Results(msgspec.Struct, frozen=True):
    """The last figures of every subject."""

    subjects: Sequence[Subject] = ()

    @property
    def rows(self) -> list[Row]:
        return [row for subject in self.subjects for row in subject.rows]

    def value(self, name: str) -> float | None:
        """Return the figure of that name; None when it has not been measured."""
        return next((row.value for row in self.rows if row.name == name), None)

    def with_subjects(self, fresh: Sequence[Subject], order: Sequence[str]) -> Results:
        """Return these results with `fresh` subjects in place of their older figures, in the order of the names in `order`.
        Those that are not named there are dropped."""
        known = {subject.name: subject for subject in (*self.subjects, *fresh)}
        return Results([known[name] for name in order if name in known])


def row(
    name: str, value: float, unit: str, budget: float | None = None, *, at_most: bool = False, remark: str = ""
) -> Row:
    """A figure and whether it holds its budget (at least that much, or `at_most`); without one, just the figure."""
    holds = None if budget is None else (value <= budget if at_most else value >= budget)
    bound = None if budget is None else float(budget)
    return Row(name, round(float(value), 3), unit, bound, at_most, holds, remark)


def versus(name: str, ours: float, theirs: float, budget: float | None = None, *, why: str) -> Row:
    """How many times theirs ours is, of a figure that is better when it is larger. Where we lose, `why` stands beside it."""
    ratio = ours / theirs
    return row(name, ratio, "ratio", budget, remark="" if ratio >= 1 else f"headrace loses: {why}")


def number(value: float) -> str:
    """As people read it: no decimals from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"


def load(path: Path = LATEST) -> Results:
    """Read the kept results; none when there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else Results()


def dump(results: Results) -> str:
    return msgspec.json.format(msgspec.json.encode(results), indent=2).decode() + "\n"
