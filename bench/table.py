"""One line of the benchmark's table."""

from __future__ import annotations


def row(name: str, value: float, unit: str, budget: float | None = None, *, at_most: bool = False) -> dict[str, object]:
    """A figure and whether it holds its budget (at least that much, or `at_most`); without one, just the figure."""
    holds = None if budget is None else (value <= budget if at_most else value >= budget)
    return {"name": name, "value": round(value, 3), "unit": unit, "budget": budget, "holds": holds}
