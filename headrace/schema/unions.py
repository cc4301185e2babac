"""Nodes of unions, and of places that contain themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from headrace.schema.nodes import CASE, VALUE, Node, Plain, Shape, ShapeMismatch, at


class Case(NamedTuple):
    """An alternative. With a `label` it is a tagged union's case, `{"case": label, "value": …}`: its wire form alone would
    be ambiguous."""

    node: Node
    label: str | None


class Union(Node):
    """A union, discriminated by wire form. `fits(node, wire)` returns True if a wire value is valid for a node; without it
    a value is encoded as the first alternative that has its shape."""

    def __init__(self, nodes: list[Node], fits: Callable[[Node, Any], bool] | None = None):
        self.nodes = nodes
        self.fits = fits

    @cached_property
    def cases(self) -> list[Case]:
        shapes = [node.shapes() for node in self.nodes]
        alike: dict[Any, list[tuple[int, Shape]]] = {}
        for number, own in enumerate(shapes):
            for shape in own:
                alike.setdefault((shape.kind, shape.names), []).append((number, shape))
        told = set[int]()
        for group in alike.values():
            for (one, shape), (other, against) in itertools.combinations(group, 2):
                same = self.nodes[one].transparent and self.nodes[other].transparent
                if one != other and not same and shape.overlaps(against):
                    told |= {one, other}
        tagged = frozenset([CASE, VALUE])
        if told and any(shape.kind == "object" and shape.names in (tagged, None) for own in shapes for shape in own):
            told = set(range(len(shapes)))
        labels = [node.about.get("title") or "" for node in self.nodes]
        if not all(labels) or len(set(labels)) < len(labels):
            labels = [str(number) for number in range(1, len(labels) + 1)]
        return [Case(node, labels[at] if at in told else None) for at, node in enumerate(self.nodes)]

    @cached_property
    def transparent(self) -> bool:
        return all(node.transparent for node in self.nodes)

    @cached_property
    def _told_by(self) -> list[tuple[list[Shape], Case]]:
        return [(case_shapes(case), case) for case in self.cases]

    def restore(self, wire: Any) -> Any:
        if self.transparent:
            return wire
        for shapes, case in self._told_by:
            if any(shape.takes(wire) for shape in shapes):
                if case.label is None:
                    return case.node.restore(wire)
                return at(VALUE, case.node.restore, wire[VALUE])
        # Not all of what was asked for: an answer on its way, or one that validation will complain of.
        for shapes, case in self._told_by:
            if case.label is None and any(shape.begins(wire) for shape in shapes):
                return case.node.restore(wire)
        return wire

    def lift(self, value: Any) -> Any:
        for node, label in self.cases:
            try:
                wire = node.lift(value)
            except ShapeMismatch:
                continue
            if self.fits is None or self.fits(node, wire):
                return wire if label is None else {CASE: label, VALUE: wire}
        raise ShapeMismatch("it is none of the alternatives")

    def takes_null(self) -> bool:
        """Return True if null is allowed. It must not compute shapes; a tagged case may seem to take null."""
        return any(node.takes_null() for node in self.nodes)

    def shapes(self) -> list[Shape]:
        return [shape for case in self.cases for shape in case_shapes(case)]

    def inner(self) -> Iterator[Node]:
        yield from self.nodes


class Definition:
    """A recursive place; `node` is set once it is built."""

    def __init__(self, name: str):
        self.name = name
        self.node: Node | None = None

    @property
    def last(self) -> Definition:
        """The definition at the end of the chain: a place with one alternative may be nothing but another definition."""
        here = self
        while isinstance(here.node, Reference):
            here = here.node.definition
        return here


class Reference(Node):
    """A reference to a definition by its name."""

    def __init__(self, definition: Definition):
        self.definition = definition

    @property
    def target(self) -> Node:
        node = self.definition.last.node
        if node is None:
            raise ShapeMismatch("the definition is not there")
        return node

    def restore(self, wire: Any) -> Any:
        return self.target.restore(wire)

    def lift(self, value: Any) -> Any:
        return self.target.lift(value)

    def takes_null(self) -> bool:
        return self.target.takes_null()

    def shapes(self) -> list[Shape]:
        return self.target.shapes()


def case_shapes(case: Case) -> list[Shape]:
    if case.label is None:
        return case.node.shapes()
    return [Shape("object", None, frozenset([CASE, VALUE]), {CASE: frozenset([case.label])})]


def without_null(node: Node) -> list[Node]:
    """Return `node` with null split off from its other types, which may have to be tagged."""
    if not isinstance(node, Plain) or "null" not in node.types or len(node.types) == 1:
        return [node]
    null, rest = Plain(["null"], {}), Plain([kind for kind in node.types if kind != "null"], node.limits, node.values)
    if node.values is not None:
        if None not in node.values:
            return [node]
        rest = Plain(rest.types, node.limits, [value for value in node.values if value is not None])
    for each in (null, rest):
        each.about, each.pointer, each.said = node.about if each is rest else {}, node.pointer, node.said
    null.said = ""
    return [rest, null]
