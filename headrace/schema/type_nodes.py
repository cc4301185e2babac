"""Nodes of Python types, for the parameters of functions: `headrace.schema.wire_schema` writes them as it writes those of a JSON
Schema. The types of answers become a JSON Schema first (`python_types.py`), which has no keys of maps but texts.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from headrace.errors import InputError
from headrace.schema.merge import json_type
from headrace.schema.nodes import KEY, VALUE, Items, Map, Node, Plain, Record, ShapeMismatch, at
from headrace.schema.unions import Union
from headrace.text.quoting import quoted

LEAVES: dict[Any, tuple[str, str]] = {
    str: ("string", ""),
    int: ("integer", ""),
    float: ("number", ""),
    bool: ("boolean", ""),
    type(None): ("null", ""),
    UUID: ("string", "uuid"),
    datetime: ("string", "date-time"),
    date: ("string", "date"),
    time: ("string", "time"),
    Decimal: ("string", "decimal"),
}
"""JSON type and format of the types without parts."""

RANGES = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

LIMITS = {"multiple_of": "multipleOf", "pattern": "pattern", "min_length": "minLength", "max_length": "maxLength"}

LIST_LIMITS = {"min_length": "minItems", "max_length": "maxItems"}


class TypedMap(Map):
    """A map whose keys have their own type on the wire: numbers stay numbers."""

    def pairs(self, entries: Any) -> dict[Any, Any]:
        restored: dict[Any, Any] = {}
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or entry.keys() != {KEY, VALUE}:
                raise ShapeMismatch('an entry must be {"key": …, "value": …}', (index,))
            key = hashable_key(entry[KEY])
            if key in restored:
                raise ShapeMismatch(f"the key {quoted(key)} is there twice", (index, KEY))
            restored[key] = at(str(key), self.value.restore, entry[VALUE])
        return restored


class Nullable(Union):
    """A union of null and one alternative: what is not null is decoded as that one, also where it has another shape."""

    def __init__(self, node: Node):
        super().__init__([node, leaf("null")])
        self.node = node

    def restore(self, wire: Any) -> Any:
        return None if wire is None else self.node.restore(wire)


def node_of(hint: Any, where: str, inside: tuple[Any, ...] = ()) -> Node:
    """Return the node of a type. `where` begins complaints, `inside` are the Structs around.

    Raises `InputError` for a type that strict mode cannot carry.
    """
    sort, parts = shape(hint)
    if sort == "annotated":
        return limited(node_of(parts[0], where, inside), [meta for meta in parts[1:] if isinstance(meta, msgspec.Meta)])
    if sort == "leaf":
        kind, form = LEAVES[hint]
        return leaf(kind, {"format": form} if form else {})
    if sort == "literal":
        return one_of(parts)
    if sort == "enum":
        values = sorted((member.value for member in hint), key=lambda value: (str(type(value)), value))
        return with_about(one_of(values), title=hint.__name__)
    if sort == "array":
        return with_about(Items(node_of(parts[0], where, inside), {}))
    if sort == "union":
        return union([node_of(variant, where, inside) for variant in parts])
    if sort == "map":
        if not hashable(parts[0]):
            raise InputError(
                f"{where}: {quoted(hint)}: the keys of a map must be texts, numbers, or other plain values"
            )
        return with_about(TypedMap(node_of(parts[0], where, inside), node_of(parts[1], where, inside)))
    if sort == "struct":
        return struct(hint, where, inside)
    raise InputError(f"{where}: {quoted(hint)} cannot be carried by strict mode; {remedy(hint)}")


def struct(hint: Any, where: str, inside: tuple[Any, ...]) -> Node:
    if hint in inside:
        raise InputError(f"{where}: {hint} contains itself; give a list of flat records that name their parent instead")
    config = (typing.get_origin(hint) or hint).__struct_config__
    nodes: dict[str, Node] = {config.tag_field: one_of([config.tag])} if config.tag is not None else {}
    for field in msgspec.structs.fields(hint):
        nodes[field.encode_name] = node_of(field.type, f"{where}, field {field.name}", (*inside, hint))
    said = inspect.cleandoc(hint.__doc__) if hint.__doc__ else ""
    return with_about(record(nodes), title=getattr(hint, "__name__", str(hint)), description=said)


def record(nodes: dict[str, Node]) -> Record:
    """Return the node of an object whose properties all have to be given: one with a default is not nullable for that."""
    return with_about(Record(dict.fromkeys(nodes, False), nodes, None, soft=frozenset()))


def leaf(kind: str, limits: dict[str, Any] | None = None) -> Plain:
    return with_about(Plain([kind], limits or {}))


def one_of(values: typing.Iterable[Any]) -> Plain:
    values = list(values)
    return with_about(Plain(list(dict.fromkeys(map(json_type, values))), {}, values))


def union(nodes: list[Node]) -> Node:
    """Return the union of all, flat; the description of a union in it is that of the whole."""
    flat = [inner for node in nodes for inner in (node.nodes if isinstance(node, Union) else [node])]
    said = {name: text for node in nodes if isinstance(node, Union) for name, text in node.about.items()}
    some = [node for node in flat if not is_null(node)]
    joined = Nullable(some[0]) if len(some) == 1 and len(some) < len(flat) else Union(flat)
    return with_about(joined, **said)


def is_null(node: Node) -> bool:
    return isinstance(node, Plain) and node.types == ["null"] and node.values is None


N = typing.TypeVar("N", bound=Node)


def with_about(node: N, **words: str) -> N:
    """Add what is said to people of a node: its title, its description."""
    node.about = {**getattr(node, "about", {}), **{name: text for name, text in words.items() if text}}
    node.pointer = ""
    return node


def limited(node: Node, metas: list[msgspec.Meta]) -> Node:
    """Add what `msgspec.Meta` says of a node's values."""
    keywords = LIST_LIMITS if isinstance(node, Items | Map) else RANGES | LIMITS
    for meta in metas:
        if meta.description is not None:
            node.about["description"] = meta.description
        if isinstance(node, Plain | Items | Map):
            node.limits |= {
                word: getattr(meta, name) for name, word in keywords.items() if getattr(meta, name) is not None
            }
    return node


def shape(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """Return what sort of type `hint` is, and its parts; the sort is empty for what cannot be carried."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return "annotated", (parts[0], *hint.__metadata__)
    if hint is None or hasattr(hint, "__supertype__"):
        return "annotated", (getattr(hint, "__supertype__", type(None)),)
    if origin is Literal:
        return "literal", parts
    if origin in (typing.Union, types.UnionType):
        return "union", parts
    if (origin is list and parts) or (origin is tuple and parts[1:] == (...,)):
        return "array", parts[:1]
    if origin is dict and parts:
        return "map", parts
    base: Any = origin or hint
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return "" if base.__struct_config__.array_like else "struct", ()
    if isinstance(base, type) and issubclass(base, enum.Enum):
        return "enum", ()
    return "leaf" if isinstance(base, type) and base in LEAVES else "", ()


def hashable(hint: Any) -> bool:
    """Return True if a map may have keys of this type."""
    sort, parts = shape(hint)
    if sort in {"annotated", "array"}:
        return typing.get_origin(hint) is not list and hashable(parts[0])
    return sort in {"leaf", "literal", "enum"} or (sort == "union" and all(map(hashable, parts)))


def remedy(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if origin in (dict, Mapping, typing.Mapping):
        return "write `dict[str, int]`, with the types of keys and values"
    if origin in (list, set, frozenset):
        return "write `list[str]`, with the items' type"
    if origin is tuple:
        return "write `tuple[str, ...]`, or a msgspec Struct with a field for each item"
    if origin is bytes:
        return "write `str`, and give base64"
    return "write a plain type (str, int, float, bool), a Literal, an Enum, a list, a map or a msgspec Struct of them"


def hashable_key(key: Any) -> Any:
    return tuple(map(hashable_key, key)) if isinstance(key, list) else key
