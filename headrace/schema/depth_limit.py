"""Limit the depth of a schema: strict modes allow so many levels of objects; deeper ones are sent as JSON text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from headrace.schema.json_encoded import JsonText
from headrace.schema.nodes import Items, Map, Node, Property, Record, Tuple
from headrace.schema.unions import Reference, Union


class DepthLimiter:
    """Limits nodes to `most` levels of objects. `cut_at` are the pointers of nodes that became JSON text."""

    def __init__(self, most: int, describe: Callable[[Sequence[Any]], str]):
        self.most = most
        self.describe = describe
        self.cut_at: list[str] = []
        self._done: set[int] = set()
        self._made: dict[tuple[int, int], tuple[Node, Node]] = {}  # the first keeps its id from being another's

    def cut(self, node: Node, depth: int) -> Node:
        """Return `node`, at `depth` levels of objects, with everything too deep replaced. A shared node is cut once per
        depth."""
        key = id(node), depth
        if key not in self._made:
            self._made[key] = node, self._cut(node, depth)
        return self._made[key][1]

    def _cut(self, node: Node, depth: int) -> Node:
        match node:
            case Reference():
                definition = node.definition
                if id(definition) not in self._done and definition.node is not None:
                    self._done.add(id(definition))
                    definition.node = self.cut(definition.node, 0)
                return node
            case Items():
                return self.changed(node, item=self.cut(node.item, depth))
            case Map():
                if depth + 2 > self.most:
                    return self.text(node)
                return self.changed(node, value=self.cut(node.value, depth + 2))
            case Record():
                inside = depth + 1
                if inside + (node.rest is not None) > self.most:
                    return self.text(node)
                nodes = {name: self.cut(each.node, inside + boxed(each)) for name, each in node.properties.items()}
                rest = self.changed(node.rest, value=self.cut(node.rest.value, inside + 1)) if node.rest else None
                made = Record(node.optional, nodes, rest, soft=node.soft, tags=node.tags)
                made.about, made.pointer = node.about, node.pointer
                return made
            case Tuple():
                if depth + 1 > self.most:
                    return self.text(node)
                rest = self.cut(node.rest, depth + 1) if node.rest else None
                return self.changed(node, record=self.cut(node.record, depth), rest=rest)
            case Union():
                nodes = [self.cut(case.node, depth + (case.label is not None)) for case in node.cases]
                if any(isinstance(each, JsonText) and each.kinds is None for each in nodes):
                    return self.text(node)
                made = Union(nodes, node.fits)
                made.about, made.pointer = node.about, node.pointer
                return made
        return node

    def changed(self, node: Any, **parts: Any) -> Any:
        made = copy.copy(node)
        for name, part in parts.items():
            setattr(made, name, part)
        return made

    def text(self, node: Node) -> JsonText:
        self.cut_at.append(node.pointer)
        made = JsonText(said=self.describe(node.parts))
        made.about, made.pointer = node.about, node.pointer
        return made


def boxed(each: Property) -> int:
    return each.absent == "box"
