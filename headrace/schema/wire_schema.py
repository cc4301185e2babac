"""Write nodes as the wire schema, within the strict subset of a target, and check the target's limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from headrace.errors import SchemaError
from headrace.schema.json_encoded import JsonText, JsonTextEnum
from headrace.schema.merge import canonical
from headrace.schema.nodes import (
    CASE,
    ENTRIES,
    KEY,
    VALUE,
    Items,
    Map,
    Node,
    Plain,
    Record,
    Tuple,
)
from headrace.schema.targets import Target
from headrace.schema.unions import Definition, Reference, Union

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}
MAX_INLINE = 1500
"""Maximal number of nodes written inline in one schema; beyond, shared ones become definitions."""
OF_TYPE = {
    "number": ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
    "string": ("pattern", "minLength", "maxLength", "format"),
}
ABOUT = ("title", "description")
MAX_TITLE = 1000
"""Characters of the path in a map's title: each map below a long name has it again."""
MIN_SHARED = 2
"""Number of values from which on an enum may become a shared definition."""
REST_TEXT = "Properties beyond these; usually none."


class InlineLimitExceeded(Exception):
    """Inlining exceeds `MAX_INLINE`."""


class Writer:
    """Writes one schema. Recursive definitions stay definitions; with `shared`, so do parts used often."""

    def __init__(self, target: Target, *, shared: bool = False):
        self.target = target
        self.shared = shared
        self.definitions: dict[str, Schema] = {}
        self.origins: dict[int, str] = {}
        """The pointer in the caller's schema of each schema that is written, by the `id` of that."""
        self._names: dict[Any, str] = {}
        self._uses: dict[Any, int] = {}
        self._written = 0

    def document(self, node: Node, title: str, *, wrapped: bool = False) -> Schema:
        """Return the whole schema of a root. `title` names its maps; `wrapped` puts the value into a property of an object."""
        if self.shared:
            self._count(node)
        path = (camel(title),)
        if isinstance(node, Reference):  # a root is written out: providers refuse a reference there
            self._define(node.definition, path)
            node = node.target
        wire = closed({VALUE: self.write(node, path)}, {}) if wrapped else self._plain(node, path)
        wire.pop("title", None)
        return wire | ({"$defs": self.definitions} if self.definitions else {})

    def write(self, node: Node, path: tuple[str, ...]) -> Schema:
        if isinstance(node, Reference):
            return self._define(node.definition, path)
        if self._uses.get(id(node), 0) > 1 and isinstance(node, Record | Map | Tuple | Union):
            if id(node) not in self._names:
                self._names[id(node)] = name = self._free(node.about.get("title") or path[-1] or "Shared")
                self.definitions[name] = {}
                self.definitions[name] = self._plain(node, (camel(name),))
            return {"$ref": f"#/$defs/{self._names[id(node)]}"}
        values = values_of(node) if self.shared else None
        if values is not None and self._uses.get(values, 0) > 1:
            return self._named_values(node, values, path)
        return self._plain(node, path)

    def _named_values(self, node: Node, values: Any, path: tuple[str, ...]) -> Schema:
        """Return a reference to a shared enum, with this place's own description."""
        if values not in self._names:
            self._names[values] = name = self._free(node.about.get("title") or path[-1] or "Values")
            self.definitions[name] = {
                word: value for word, value in self._plain(node, path).items() if word not in ABOUT
            }
        reference = {"$ref": f"#/$defs/{self._names[values]}"}
        return {"anyOf": [reference]} | node.about if node.about else reference

    def _define(self, definition: Definition, path: tuple[str, ...]) -> Schema:
        definition = definition.last
        if id(definition) not in self._names:
            self._names[id(definition)] = name = self._free(definition.name)
            self.definitions[name] = {}
            if definition.node is not None:
                self.definitions[name] = self._plain(definition.node, (camel(name),))
        return {"$ref": f"#/$defs/{self._names[id(definition)]}"}

    def _free(self, name: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:56].strip("_") or "Node"
        return name if name not in self.definitions else f"{name}_{len(self.definitions)}"

    def _count(self, node: Node) -> None:
        waiting, seen = [node], set[int]()
        while waiting:
            here = waiting.pop()
            self._uses[id(here)] = self._uses.get(id(here), 0) + 1
            values = values_of(here)
            if values is not None:
                self._uses[values] = self._uses.get(values, 0) + 1
            if id(here) in seen:
                continue
            seen.add(id(here))
            waiting += here.inner()
            if isinstance(here, Reference) and here.definition.node is not None:
                waiting.append(here.definition.node)

    def _plain(self, node: Node, path: tuple[str, ...]) -> Schema:
        wire = self._wire(node, path)
        self.origins[id(wire)] = node.pointer
        return wire

    def _wire(self, node: Node, path: tuple[str, ...]) -> Schema:
        self._written += 1
        if self._written > MAX_INLINE * (10 if self.shared else 1):
            raise InlineLimitExceeded
        about: Schema = dict(node.about)
        if node.said:
            about["description"] = " ".join(filter(None, (about.get("description"), node.said)))
        match node:
            case Plain():
                return self._scalar(node, about)
            case JsonTextEnum():
                return {"type": "string"} | about | {"enum": list(node.values)}
            case JsonText():
                return {"type": "string"} | about
            case Items():
                items = {"items": self.write(node.item, (*path, "Item"))}
                return {"type": "array"} | about | items | self._kept(node.limits, ("minItems", "maxItems"))
            case Record():
                return self._record(node, about, path)
            case Map():
                about = {word: text for word, text in about.items() if word == "description"}
                sizes = self._kept(node.limits, ("minItems", "maxItems"))
                entries = {"type": "array", "items": self._entry(node, path)} | sizes
                return closed({ENTRIES: entries}, {"title": title_of(path) + "Map"} | about)
            case Tuple():
                wire = self._record(node.record, about, path)
                if node.rest:
                    rest = self.write(node.rest, (*path, "Rest"))
                    wire = closed(wire["properties"] | {"rest": rest}, about)
                return wire
            case Union():
                return self._union(node, about, path)
        raise TypeError(f"no node: {node!r}")

    def _scalar(self, node: Plain, about: Schema) -> Schema:
        if node.values is None or not node.values:
            kept: Schema = {}
            for kind in node.types:
                kept |= self._kept(node.limits, OF_TYPE.get(kind, ()))
            return {"type": node.types[0] if len(node.types) == 1 else list(node.types)} | about | kept
        if not self.target.typed_enums:
            return about | {"enum": node.values}
        groups = [(kind, values) for kind in node.types if (values := [v for v in node.values if of_kind(v, kind)])]
        if len(groups) == 1:
            return {"type": groups[0][0]} | about | {"enum": groups[0][1]}
        listed = [NULL if kind == "null" else {"type": kind, "enum": values} for kind, values in groups]
        return {"anyOf": null_last(listed)} | about

    def _kept(self, limits: Schema, words: tuple[str, ...]) -> Schema:
        return self.target.kept({word: limits[word] for word in words if word in limits})

    def _record(self, node: Record, about: Schema, path: tuple[str, ...]) -> Schema:
        wires: dict[str, Schema] = {}
        for name, (inner, absent) in node.properties.items():
            wire = self.write(inner, (*path, camel(name)))
            if absent == "box":
                wire = closed({VALUE: wire}, {})
            wires[name] = or_null(wire) if absent in ("null", "box") else wire
            self.origins.setdefault(id(wires[name]), inner.pointer)
        if node.rest is not None:
            entry = self._entry(node.rest, (*path, camel(node.rest_name)))
            wires[node.rest_name] = {"type": "array", "description": REST_TEXT, "items": entry}
        return closed(wires, about)

    def _entry(self, node: Map, path: tuple[str, ...]) -> Schema:
        key, value = self.write(node.key, (*path, "Key")), self.write(node.value, (*path, "Value"))
        return closed({KEY: key, VALUE: value}, {"title": title_of(path) + "Entry"})

    def _union(self, node: Union, about: Schema, path: tuple[str, ...]) -> Schema:
        wires: list[Schema] = []
        for inner, label in node.cases:
            wire = self.write(inner, path)
            if label is not None:
                wire = closed({CASE: {"type": "string", "enum": [label]}, VALUE: wire}, {})
            for each in wire["anyOf"] if wire.keys() == {"anyOf"} else [wire]:
                if each not in wires:
                    wires.append(each)
        return ({"anyOf": null_last(wires)} if len(wires) > 1 else wires[0]) | about


def closed(properties: dict[str, Schema], about: Schema) -> Schema:
    return (
        {"type": "object"}
        | about
        | {"properties": properties, "required": list(properties), "additionalProperties": False}
    )


def or_null(wire: Schema) -> Schema:
    if any("null" in types_of(each) for each in (wire, *wire.get("anyOf", ()))):
        return wire
    if "anyOf" in wire:
        return wire | {"anyOf": null_last([*wire["anyOf"], NULL])}
    about = {word: wire[word] for word in ("description",) if word in wire}
    return {"anyOf": [{word: value for word, value in wire.items() if word not in about}, NULL]} | about


def types_of(wire: Schema) -> list[str]:
    kind = wire.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def null_last(wires: list[Schema]) -> list[Schema]:
    others = [wire for wire in wires if wire.get("type") != "null"]
    return [*others, NULL] if len(others) < len(wires) else others


def of_kind(value: Any, kind: str) -> bool:
    if value is None or isinstance(value, bool):
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, int | float):
        return kind in ("integer", "number")
    return kind == "string"


def title_of(path: tuple[str, ...]) -> str:
    return "".join(path)[:MAX_TITLE]


def camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))


def values_of(node: Node) -> Any:
    """Return a key that identifies an enum of many values; None for anything else."""
    values = node.values if isinstance(node, Plain | JsonTextEnum) else None
    if not values or len(values) < MIN_SHARED:
        return None
    return type(node), tuple(node.types) if isinstance(node, Plain) else (), tuple(map(canonical, values))


def check_limits(found: Iterable[WirePlace], target: Target) -> None:
    """Raise `SchemaError` naming the first limit of the target that the places of a wire schema exceed."""
    properties = enum_values = chars = 0
    for here, depth, place, origin in found:
        named = here.get("properties", {})
        properties += len(named)
        chars += sum(map(len, (*named, *here.get("$defs", {}))))
        values = here.get("enum", ())
        enum_values += len(values)
        long = sum(len(value) for value in values if isinstance(value, str))
        chars += long
        for what, count, most in (
            ("objects in objects", depth, target.depth),
            ("properties", properties, target.properties),
            ("values of enums", enum_values, target.enum_values),
            ("characters of names and values", chars, target.chars),
        ):
            if count > most:
                raise SchemaError(
                    f"the schema has {count} {what} on the wire ({place[:200] or '/'} is one too many), and {target.name} "
                    f"takes {most}",
                    pointer=origin,
                    keyword=what,
                    remedy="describe less, make parts of it `true` (they travel as JSON text), or choose the mode "
                    "json_object",
                )


class WirePlace(NamedTuple):
    """A schema inside a wire schema: its depth in objects, its place, and the caller's place it stands for."""

    schema: Schema
    depth: int
    pointer: str
    origin: str


def places(wire: Schema, origins: dict[int, str]) -> Iterator[WirePlace]:
    """Yield every subschema."""
    waiting: list[WirePlace] = [WirePlace(wire, 0, "", "")]
    while waiting:
        here, depth, place, origin = waiting.pop()
        depth += here.get("type") == "object"
        origin = origins.get(id(here), origin)
        yield WirePlace(here, depth, place, origin)
        for word in ("properties", "$defs"):
            inside = depth if word == "properties" else 0
            named = here.get(word, {}).items()
            waiting += [WirePlace(inner, inside, f"{place}/{word}/{name}", origin) for name, inner in named]
        waiting += [
            WirePlace(inner, depth, f"{place}/anyOf/{at}", origin) for at, inner in enumerate(here.get("anyOf", ()))
        ]
        if "items" in here:
            waiting.append(WirePlace(here["items"], depth, f"{place}/items", origin))
