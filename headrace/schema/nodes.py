"""The nodes of a lowered schema: codecs between the caller's value and its wire form, `lift` to encode and `restore` to
decode.

`headrace.schema.lower` builds the nodes, `headrace.schema.wire_schema` writes their wire schema. For every value that the schema
allows, `restore(lift(value)) == value`. Both raise `ShapeMismatch` for a value without the node's shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from headrace.schema.merge import canonical, json_type
from headrace.schema.patterns import matches
from headrace.text.quoting import quoted

ENTRIES, KEY, VALUE, CASE = "entries", "key", "value", "case"
REST = "additional_properties"


class ShapeMismatch(Exception):
    """The value does not have the node's shape; `path` is its place."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()):
        super().__init__(message)
        self.message = message
        self.path = path


class Shape(NamedTuple):
    """The discriminating features of a node's wire values: the type, the allowed values (None: any), and for an object its
    names, and those of its properties that have few values."""

    kind: str
    values: frozenset[Any] | None = None
    names: frozenset[str] | None = None
    consts: dict[str, frozenset[Any]] = {}  # noqa: RUF012 (never changed)

    def overlaps(self, other: Shape) -> bool:
        if self.kind != other.kind or (
            self.values is not None and other.values is not None and not self.values & other.values
        ):
            return False
        if self.names is not None and other.names is not None and self.names != other.names:
            return False
        return all(values & other.consts[name] for name, values in self.consts.items() if name in other.consts)

    def takes(self, value: Any) -> bool:
        kind = json_type(value)
        if kind != self.kind and not (kind == "integer" and self.kind == "number"):
            return False
        if self.values is not None and canonical(value) not in self.values:
            return False
        if self.names is not None and value.keys() != self.names:
            return False
        return all(is_among(value.get(name), values) for name, values in self.consts.items())

    def begins(self, value: Any) -> bool:
        """Return True if a partial `value` can still become one."""
        kind = json_type(value)
        if kind != self.kind or not isinstance(value, dict):
            return kind == self.kind
        if self.names is not None and not value.keys() <= self.names:
            return False
        return all(is_among(value[name], values) for name, values in self.consts.items() if name in value)


class Node:
    """One place. `about` is its title and description, `pointer` its place in the caller's schema, `parts` the caller's
    schemas that hold there, and `said` the description for the model of what its keywords cannot express."""

    about: dict[str, str]
    pointer: str
    parts: Sequence[Any] = ()
    said = ""
    transparent = False
    """True if a value is its own wire form."""

    def restore(self, wire: Any) -> Any:
        raise NotImplementedError

    def lift(self, value: Any) -> Any:
        raise NotImplementedError

    def shapes(self) -> list[Shape]:
        raise NotImplementedError

    @property
    def few(self) -> frozenset[Any] | None:
        """Return the allowed wire values in canonical form; None where there are many."""
        return None

    def takes_null(self) -> bool:
        """Return True if null is a wire value of it. It must not compute shapes: a node may contain itself."""
        return False

    def inner(self) -> Iterator[Node]:
        yield from ()


class Plain(Node):
    """A scalar of one of several `types`, unchanged on the wire; `values` when only some are allowed."""

    transparent = True

    def __init__(self, types: list[str], limits: dict[str, Any], values: list[Any] | None = None):
        self.types = types
        self.limits = limits
        self.values = values
        self._allowed = None if values is None else frozenset(map(canonical, values))

    @property
    def few(self) -> frozenset[Any] | None:
        return self._allowed

    def takes_null(self) -> bool:
        return "null" in self.types and (self.values is None or None in self.values)

    def restore(self, wire: Any) -> Any:
        return wire

    def lift(self, value: Any) -> Any:
        kind = json_type(value)
        if kind not in self.types and not (kind == "integer" and "number" in self.types):
            raise ShapeMismatch(f"{' or '.join(self.types)} was expected, not {kind}")
        if self._allowed is not None and canonical(value) not in self._allowed:
            raise ShapeMismatch("the value is not one of those allowed")
        return value

    def shapes(self) -> list[Shape]:
        kinds = dict.fromkeys("number" if kind == "integer" else kind for kind in self.types)
        if self.values is None:
            return [Shape(kind) for kind in kinds]
        sorts = {kind: frozenset(canonical(v) for v in self.values if Shape(kind).takes(v)) for kind in kinds}
        return [Shape(kind, allowed) for kind, allowed in sorts.items()]


class Items(Node):
    """A list with items of one schema."""

    def __init__(self, item: Node, limits: dict[str, Any]):
        self.item = item
        self.limits = limits

    @property
    def transparent(self) -> bool:
        return self.item.transparent

    def restore(self, wire: Any) -> Any:
        if not isinstance(wire, list):
            return wire
        return [at(index, self.item.restore, inner) for index, inner in enumerate(wire)]

    def lift(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ShapeMismatch("a list was expected")
        return [at(index, self.item.lift, inner) for index, inner in enumerate(value)]

    def shapes(self) -> list[Shape]:
        return [Shape("array")]

    def inner(self) -> Iterator[Node]:
        yield self.item


class Property(NamedTuple):
    """A property on the wire. `absent` is the encoding of a missing one: `never` missing, `null`, null with a present value
    in a `box`, or null that decodes to null (`soft`)."""

    node: Node
    absent: str


class Record(Node):
    """An object with named properties, and `rest` for others: on the wire a property of its own, called `rest_name`."""

    def __init__(
        self,
        optional: dict[str, bool],
        nodes: dict[str, Node],
        rest: Map | None,
        *,
        soft: Container[str] | None,
        tags: frozenset[str] = frozenset(),
    ):
        self.nodes = nodes
        self.optional = optional
        self.rest = rest
        self.soft = soft  # names of which null on the wire is null; None: nothing is, a value that is null has a box
        self.tags = tags  # names with a default of one value: they are always said
        self.rest_name = free_name(REST, nodes) if rest else ""

    @cached_property
    def properties(self) -> dict[str, Property]:
        return {name: Property(node, self._absent(name, node)) for name, node in self.nodes.items()}

    def _absent(self, name: str, node: Node) -> str:
        if not self.optional[name]:
            return "never"
        if name in self.tags and isinstance(node, Plain) and node.values is not None and len(node.values) == 1:
            return "never"
        if not node.takes_null():
            return "null"
        return "box" if self.soft is None else "soft" if name in self.soft else "null"

    @cached_property
    def transparent(self) -> bool:
        return self.rest is None and all(p.absent == "never" and p.node.transparent for p in self.properties.values())

    def restore(self, wire: Any) -> Any:
        if not isinstance(wire, dict):
            return wire
        restored: dict[str, Any] = {}
        for name, inner in wire.items():
            known = self.properties.get(name)
            if known is None:
                if name != self.rest_name:
                    restored[name] = inner
                continue
            if inner is None and known.absent in ("null", "box"):
                continue
            if known.absent == "box":
                if not isinstance(inner, dict) or inner.keys() != {VALUE}:
                    raise ShapeMismatch('it must be null or {"value": …}', (name,))
                inner = inner[VALUE]
            restored[name] = at(name, known.node.restore, inner) if not known.node.transparent else inner
        if self.rest is not None and wire.get(self.rest_name) is not None:
            for name, inner in at(self.rest_name, self.rest.pairs, wire[self.rest_name]).items():
                if name in restored:
                    raise ShapeMismatch(f"the property {quoted(name)} is there twice", (self.rest_name,))
                restored[name] = inner
        return restored

    def lift(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ShapeMismatch("an object was expected")
        wire: dict[str, Any] = {}
        for name, (node, _) in self.properties.items():  # a tag first: it tells before anything is lifted in vain
            if node.few is not None and name in value:
                node.lift(value[name])
        for name, (node, absent) in self.properties.items():
            if name not in value:
                if absent == "never" and not self.optional[name]:
                    raise ShapeMismatch(f"{quoted(name)} is missing")
                wire[name] = node.values[0] if absent == "never" and isinstance(node, Plain) and node.values else None
                continue
            lifted = at(name, node.lift, value[name])
            wire[name] = {VALUE: lifted} if absent == "box" else lifted
        others = {name: inner for name, inner in value.items() if name not in self.nodes}
        if self.rest is not None:
            wire[self.rest_name] = self.rest.entries(others)
        elif others:
            raise ShapeMismatch(f"there is a property {quoted(next(iter(others)))} that is not described")
        return wire

    def shapes(self) -> list[Shape]:
        names = frozenset([*self.nodes, *([self.rest_name] if self.rest else ())])
        consts: dict[str, frozenset[Any]] = {}
        for name, (node, absent) in self.properties.items():
            if node.few is not None and absent != "box":
                consts[name] = frozenset([*node.few, *([canonical(None)] if absent != "never" else ())])
        return [Shape("object", None, names, consts)]

    def inner(self) -> Iterator[Node]:
        yield from self.nodes.values()
        if self.rest:
            yield self.rest


class Map(Node):
    """An object with arbitrary names: on the wire a list of entries. A duplicate name is an error, so that no entry is lost."""

    def __init__(self, key: Node, value: Node, limits: dict[str, Any] | None = None):
        self.key = key
        self.value = value
        self.limits = limits or {}  # of the list of entries

    def restore(self, wire: Any) -> Any:
        entries = wire.get(ENTRIES) if isinstance(wire, dict) and len(wire) == 1 else None
        if not isinstance(entries, list):
            raise ShapeMismatch('a map must be {"entries": [{"key": …, "value": …}, …]}')
        return at(ENTRIES, self.pairs, entries)

    def pairs(self, entries: Any) -> dict[str, Any]:
        restored: dict[str, Any] = {}
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, dict) or not entry.keys() >= {KEY, VALUE}:
                raise ShapeMismatch('an entry must be {"key": …, "value": …}', (index,))
            name = as_name(entry[KEY])
            if name in restored:
                raise ShapeMismatch(f"the key {quoted(name)} is there twice", (index, KEY))
            restored[name] = at(name, self.value.restore, entry[VALUE])
        return restored

    def lift(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ShapeMismatch("an object was expected")
        return {ENTRIES: self.entries(value)}

    def entries(self, value: dict[str, Any]) -> list[Any]:
        pattern = self.key.limits.get("pattern") if isinstance(self.key, Plain) else None
        strange = next((name for name in value if pattern is not None and not matches(pattern, name)), None)
        if strange is not None:
            raise ShapeMismatch(f"there is a property {quoted(strange)} that is not described")
        return [{KEY: self.key.lift(name), VALUE: at(name, self.value.lift, inner)} for name, inner in value.items()]

    def shapes(self) -> list[Shape]:
        return [Shape("object", None, frozenset([ENTRIES]))]

    def inner(self) -> Iterator[Node]:
        yield self.key
        yield self.value


class Tuple(Node):
    """A tuple: on the wire an object, `item_1`, `item_2`, …, and `rest`. The first `least` are required."""

    def __init__(self, prefix: list[Node], least: int, rest: Items | None):
        names = {f"item_{number}": node for number, node in enumerate(prefix, 1)}
        optional = {name: number > least for number, name in enumerate(names, 1)}
        self.record = Record(optional, names, None, soft=None)
        self.rest = rest

    def restore(self, wire: Any) -> Any:
        if not isinstance(wire, dict):
            return wire
        named = self.record.restore({name: inner for name, inner in wire.items() if name != "rest"})
        items: list[Any] = []
        for name in self.record.nodes:
            if name in named:
                if len(items) < list(self.record.nodes).index(name):
                    raise ShapeMismatch("an item before it is missing", (name,))
                items.append(named[name])
        rest = wire.get("rest") or []
        if rest and len(items) < len(self.record.nodes):
            raise ShapeMismatch("an item before them is missing", ("rest",))
        return [*items, *(at("rest", self.rest.restore, rest) if self.rest and rest else rest)]

    def lift(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ShapeMismatch("a list was expected")
        most = len(self.record.nodes)
        wire = self.record.lift(dict(zip(self.record.nodes, value, strict=False)))
        if self.rest is not None:
            wire["rest"] = self.rest.lift(list(value[most:]))
        elif len(value) > most:
            raise ShapeMismatch(f"at most {most} items were expected")
        return wire

    def shapes(self) -> list[Shape]:
        (shape,) = self.record.shapes()
        return [shape._replace(names=(shape.names or frozenset()) | ({"rest"} if self.rest else frozenset()))]

    def inner(self) -> Iterator[Node]:
        yield from self.record.nodes.values()
        if self.rest:
            yield self.rest


def is_among(value: Any, values: frozenset[Any]) -> bool:
    """Return True if `value` is one of a node's few `values`, which are never objects or lists on the wire."""
    return not isinstance(value, dict | list) and canonical(value) in values


def free_name(name: str, taken: Container[str]) -> str:
    """Return `name`, or with a suffix, `name_2` and so on, where that is taken."""
    return next(
        free for free in itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2))) if free not in taken
    )


def at(step: str | int, move: Callable[[Any], Any], value: Any) -> Any:
    try:
        return move(value)
    except ShapeMismatch as error:
        raise ShapeMismatch(error.message, (step, *error.path)) from None


def as_name(key: Any) -> str:
    """Return a key as a JSON object has it."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key)
    raise ShapeMismatch("a key must be a text or a number")
