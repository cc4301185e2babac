"""An upper bound of the work of a validation, computed before it, because the validator cannot be interrupted.

The validator visits a value once per path of nested alternatives, and compiles parts that it has not reached before. So the
paths are counted, level by level of the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.schema.document import Source
from headrace.schema.patterns import BACKTRACKS, SMALL
from headrace.schema.subschemas import subschemas

MAX_WAYS = 10_000
MAX_WORK = 4_000_000
"""Maximal number of comparisons of a value with a part of a schema within this process: 0.15 s at most."""
MAX_LISTED = 20_000
"""The same, where every violation is listed: each copies the value and the part."""
MAX_STEPS = 200_000
HEAVY = {"multipleOf": 100, "format": 20, "uniqueItems": 20}
BACKTRACKING = 1000
PER_CHAR = 160
"""Work per character of a text and per small program that a large one is as large as: 6 µs in the worst case."""


class ValidationCost:
    """The cost model of one schema. `weight` counts its parts, expensive ones more often."""

    def __init__(self, source: Source):
        self._source = source
        self.weight = weight(source.root)
        self._ways: list[int] = []  # by depth
        self._below: dict[int, int] | None = None
        self._order: list[tuple[int, list[int], list[list[int]]]] | None = None
        self._steps = 0
        self._is_same = False

    def of(self, levels: list[int]) -> int:
        """Return the work for a value with so many values on each of its levels; from `MAX_WORK` on it is too much."""
        ways = 1
        for depth in range(len(levels)):
            ways = max(ways, self.ways(depth))
            if ways > MAX_WAYS:
                return MAX_WORK * 2
        return sum(levels) * (ways + self.weight)

    def of_texts(self, value: Any) -> int:
        """Return the work for the texts of a value, where the programs of patterns are large."""
        large = self._source.programs.large // SMALL
        return PER_CHAR * large * characters(value) if large else 0

    def ways(self, depth: int) -> int:
        """Return the maximal number of visits of one value at this depth."""
        while len(self._ways) <= depth:
            if self._is_same:
                return self._ways[-1]
            if self._ways and (self._ways[-1] > MAX_WAYS or self._steps > MAX_STEPS):
                return MAX_WAYS + 1
            self._deeper()
        return self._ways[depth]

    def _deeper(self) -> None:
        if self._order is None:
            self._order = list(self._sorted())
        made: dict[int, int] = {}
        below = self._below
        for here, beside, labels in self._order:
            own = 1 if below is None else max((sum(below[inner] for inner in each) for each in labels), default=0)
            made[here] = min(own + sum(made[inner] for inner in beside), MAX_WAYS + 1)
            self._steps += 1 + len(beside) + len(labels)
        self._ways.append(made[id(self._source.root)])
        self._is_same = made == below
        self._below = made

    def _sorted(self) -> Iterator[tuple[int, list[int], list[list[int]]]]:
        """Yield every subschema in topological order, with those that describe the same value, and those that describe one
        child together."""
        done: set[int] = set()
        for start in self._source.all_of_it():
            path = [start]
            while path:
                here = path[-1]
                beside = [inner for inner in self._source.in_place(here) if isinstance(inner, dict)]
                waiting = [inner for inner in beside if id(inner) not in done]
                if waiting and id(here) not in done:
                    path.append(waiting[0])
                    continue
                path.pop()
                if id(here) not in done:
                    done.add(id(here))
                    yield id(here), [id(inner) for inner in beside], together(here)


def together(schema: dict[str, Any]) -> list[list[int]]:
    """Return groups of subschemas that may all describe one child: a property by its name, with those for all properties."""
    every: list[int] = []
    single: list[int] = []
    for step, inner in subschemas(schema):
        word = step.partition("/")[0]
        if not isinstance(inner, dict):
            continue
        if (
            word in ("properties", "prefixItems")
            or (word == "items" and "/" in step)
            or word in ("items", "additionalProperties", "additionalItems")
        ):
            single.append(id(inner))
        elif word in ("patternProperties", "contains", "unevaluatedItems", "unevaluatedProperties", "propertyNames"):
            every.append(id(inner))
    return [[one, *every] for one in single] or ([every] if every else [])


def weight(schema: Any) -> int:
    total, waiting = 0, [schema]
    while waiting:
        here = waiting.pop()
        total += 1
        if isinstance(here, dict):
            total += sum(HEAVY.get(word, 0) for word in here)
            named = here.get("patternProperties")
            for text in (here.get("pattern"), *(named if isinstance(named, dict) else ())):
                total += BACKTRACKING if isinstance(text, str) and BACKTRACKS.search(text) else 0
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    return total


def characters(value: Any) -> int:
    """Return the number of characters of all texts in a value, names included."""
    total, waiting = 0, [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, str):
            total += len(here)
        elif isinstance(here, dict):
            total += sum(map(len, here))
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    return total


def levels_of(value: Any, most: int) -> list[int] | None:
    """Return the number of values on each level of a value, from the root on; None for more than `most` levels of objects
    and lists."""
    level, counts = [value] if isinstance(value, dict | list) else [], [1]
    for _ in range(most):
        if not level:
            return counts
        counts.append(sum(map(len, level)))
        level = [
            inner
            for here in level
            for inner in (here.values() if isinstance(here, dict) else here)
            if isinstance(inner, dict | list)
        ]
    return None if level else counts
