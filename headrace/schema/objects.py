"""The node of an object: named properties, and entries for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import SchemaError
from headrace.schema.json_encoded import JsonText
from headrace.schema.merge import NEVER, Merged, conditional_names, listed_names, present_names
from headrace.schema.nodes import Map, Node, Plain, Record
from headrace.schema.subschemas import escaped

if TYPE_CHECKING:
    from headrace.schema.lowering import Lowering


class Objects:
    """Builds object nodes for one `Lowering`."""

    def __init__(self, lowering: Lowering):
        self.lowering = lowering

    def node(self, merged: Merged, resolved: frozenset[tuple[int, str]]) -> Node | None:
        """Return the node of an object; None where no object is valid."""
        names = dict(merged.names)
        if not self.lowering.literal:
            for name, held in conditional_names(self.lowering.source, merged.parts, resolved).items():
                if name not in names and not (merged.rest and NEVER in merged.rest):
                    names[name] = [self.either(held)] if held else []
        if len(names) > self.lowering.target.properties:
            raise SchemaError(
                f"schema at {merged.pointer or '/'}: {len(names)} properties, and {self.lowering.target.name} takes "
                f"{self.lowering.target.properties}",
                pointer=merged.pointer,
                keyword="properties",
                remedy="name fewer",
            )
        nodes: dict[str, Node] = {}
        optional: dict[str, bool] = {}
        for name, held in names.items():
            node = self.lowering.place(held) if held else self.lowering.untyped(merged, f"properties/{escaped(name)}")
            if node is None:
                if name in merged.required:
                    self.lowering.nothing = self.lowering.nothing or self.nowhere(merged, name)
                    return None
                self.lowering.nothing = None
                continue
            nodes[name], optional[name] = node, name not in merged.required
        rest = self.rest(merged, named=bool(names))
        if rest is None and not names and not merged.rest and not merged.patterns:
            self.lowering.note(merged.pointer, "type", "moved", "an object of any properties: it travels as JSON text")
            text = JsonText({"object"}, self.lowering.describing.text(merged.parts, {"object"}))
            text.about, text.pointer = {**merged.about}, merged.pointer
            return text
        if rest is not None and not nodes:
            self.lowering.note(merged.pointer, "additionalProperties", "moved", "a map travels as a list of entries")
            sizes = {"minProperties": "minItems", "maxProperties": "maxItems"}
            rest.limits = {items: merged.limits[word] for word, items in sizes.items() if word in merged.limits}
            return rest
        if rest is not None:
            self.lowering.note(
                merged.pointer, "additionalProperties", "moved", "properties that are not named travel as entries"
            )
        return Record(optional, nodes, rest, soft=self.soft(merged), tags=self.tags(names))

    def nowhere(self, merged: Merged, name: str) -> str:
        """Return the pointer of a required property without a valid value: its own, or that of `required` where nothing
        describes it."""
        listing = [part for part in merged.parts if name in listed_names(part)]
        if not listing or any(name in (part.get("properties") or {}) for part in merged.parts):
            return f"{merged.pointer}/properties/{escaped(name)}"
        where = f"{self.lowering.source.pointer(listing[0])}/required"
        self.lowering.forbidden[where] = name
        return where

    def soft(self, merged: Merged) -> frozenset[str] | None:
        """Return the optional properties for which null decodes to null in an `intended` reading: those whose presence does
        not matter. For the others null means missing. None in a `literal` reading."""
        if self.lowering.literal:
            return None
        present = present_names(self.lowering.source, merged.parts)
        return frozenset(merged.names) - present if present is not None else frozenset()

    def tags(self, names: dict[str, list[Any]]) -> frozenset[str]:
        if self.lowering.literal:
            return frozenset()
        return frozenset(
            name for name, held in names.items() if any(isinstance(each, dict) and "default" in each for each in held)
        )

    def either(self, schemas: list[Any]) -> Any:
        if len(schemas) == 1:
            return schemas[0]
        made = {"anyOf": schemas}
        self.lowering.kept.append(made)
        return made

    def rest(self, merged: Merged, *, named: bool) -> Map | None:
        """Return the node of unnamed properties; None where none are valid, or none are asked for."""
        groups: list[Node] = []
        for pattern, held in merged.patterns.items():
            self.lowering.note(f"{merged.pointer}/patternProperties", pattern, "validated", "that names fit it")
            node = self.lowering.place(held)
            groups += [node] if node is not None else []
        if merged.rest:
            node = self.lowering.place(merged.rest)
            groups += [node] if node is not None else []
        elif self.lowering.literal and (named or merged.patterns):
            groups.append(self.lowering.untyped(merged, "additionalProperties"))
        if not groups:
            return None
        value = self.lowering.alternatives(groups, Merged()) if len(groups) > 1 else groups[0]
        key = self.key(merged)
        if value is None or key is None:
            return None
        made = Map(key, value)
        made.about, made.pointer = {}, merged.pointer
        return made

    def key(self, merged: Merged) -> Node | None:
        closed = NEVER in merged.rest or (not self.lowering.literal and not merged.rest)
        only = list(merged.patterns) if len(merged.patterns) == 1 and closed else []
        if merged.keys and not only:
            names = [{"type": "string"}, *merged.keys]
            self.lowering.kept.append(names)
            node = self.lowering.place(names)
            if node is None or isinstance(node, Plain):
                return node
            self.lowering.note(merged.pointer, "propertyNames", "validated", "the answer's names are checked")
        node = Plain(["string"], {"pattern": only[0]} if only else {})
        node.about, node.pointer = {}, merged.pointer
        return node
