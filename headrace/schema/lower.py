"""A caller's JSON Schema becomes one that strict mode takes: closed objects, every property required, maps as entries.

Only the wire schema changes. `restore` brings an answer back, and what the wire schema cannot say is checked against
the caller's own schema afterwards. A schema that strict mode cannot carry travels as it is, not strictly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from headrace.schema.restore import Alternatives, Items, Map, Named, Plan, Record

NULL = {"type": "null"}
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
LIMITS = (
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "pattern",
    "minLength",
    "maxLength",
)
KEPT = ("title", "description", "enum", "const", *LIMITS)
SIZES = ("minItems", "maxItems")
UNCARRIED = ("patternProperties", "prefixItems", "unevaluatedProperties", "additionalItems", "$dynamicRef")
PLAIN = frozenset({"string", "integer", "number", "boolean", "null"})


class Lowered(NamedTuple):
    """`wire` is what is sent, `plan` the way back (None: nothing to do), `obstacle` why strict mode does not take it
    (the place and the keyword there; None when it does)."""

    wire: dict[str, Any]
    plan: Plan | None
    obstacle: str | None = None

    @property
    def strict(self) -> bool:
        return self.obstacle is None


class Uncarried(Exception):
    """Strict mode has no words for `what` at `place` (a JSON Pointer)."""

    def __init__(self, what: str):
        super().__init__(what)
        self.what = what
        self.place = ""

    def within(self, *steps: str) -> Uncarried:
        self.place = "".join(f"/{step}" for step in steps) + self.place
        return self


def lower(schema: dict[str, Any]) -> Lowered:
    """The wire schema of `schema` (providers 3.3 to 3.5). Made once for a schema; the cache is bounded."""
    return _lower(msgspec.json.encode(schema))


@lru_cache(maxsize=256)
def _lower(encoded: bytes) -> Lowered:
    schema = msgspec.json.decode(encoded)
    try:
        return Lowering(schema).root()
    except Uncarried as error:
        return Lowered(schema, None, f"{error.place or '/'}: {error.what}")
    except RecursionError:
        return Lowered(schema, None, "/: it is nested too deep")


class Lowering:
    """One schema on its way. Definitions that contain themselves stay definitions; all others are written out."""

    def __init__(self, schema: dict[str, Any]):
        self.schema = schema
        self.definitions: dict[str, dict[str, Any]] = {}
        self.plans: dict[str, Plan | None] = {}
        self.names: dict[str, str] = {}

    def root(self) -> Lowered:
        title = str(self.schema.get("title", ""))
        wire, plan = self.any(self.schema, (camel(title),))
        wire.pop("title", None)
        if self.definitions:
            wire["$defs"] = self.definitions
        return Lowered(wire, plan)

    def any(self, schema: Any, path: tuple[str, ...]) -> tuple[dict[str, Any], Plan | None]:
        """The wire form of one place, and its way back. `path` names maps."""
        if not isinstance(schema, dict) or not schema:
            raise Uncarried("anything at all is allowed here; name a type")
        for word in UNCARRIED:
            if word in schema:
                raise Uncarried(f"strict mode has no `{word}`")
        if "$ref" in schema:
            return self.reference(schema, path)
        if "allOf" in schema:
            return self.merged(schema, path)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self.union(schema, choices, path)
        sort = schema.get("type")
        if isinstance(sort, list):
            if PLAIN.issuperset(sort):
                return {"type": sort} | said(schema), None
            return self.union(schema, [schema | {"type": one} for one in sort], path)
        if sort == "object" or (sort is None and "properties" in schema):
            return self.object(schema, path)
        if sort == "array":
            if "items" not in schema:
                raise Uncarried("a list needs the type of its items")
            wire, plan = self.inside(schema["items"], (*path, "Item"), "items")
            sizes = {word: schema[word] for word in SIZES if word in schema}
            return {"type": "array"} | said(schema) | {"items": wire} | sizes, Items(plan) if plan else None
        if sort not in PLAIN and "enum" not in schema and "const" not in schema:
            raise Uncarried("no type is named here")
        form = {"format": schema["format"]} if schema.get("format") in FORMATS else {}
        return ({"type": sort} if sort else {}) | said(schema) | form, None

    def inside(self, schema: Any, path: tuple[str, ...], *steps: str) -> tuple[dict[str, Any], Plan | None]:
        try:
            return self.any(schema, path)
        except Uncarried as error:
            raise error.within(*steps) from None

    def reference(self, schema: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], Plan | None]:
        pointer = schema["$ref"]
        target = self.target(pointer)
        if not self.contains_itself(pointer):
            inner, plan = self.any(target, path)
            return inner | said(schema), plan
        if pointer not in self.names:
            name = re.sub(r"\W", "_", pointer.rpartition("/")[2])[:60].strip("#") or "Root"
            name = self.names[pointer] = name if name not in self.definitions else f"{name}_{len(self.names)}"
            self.definitions[name] = {}
            self.definitions[name], self.plans[name] = self.any(target, (camel(name),))
        return {"$ref": f"#/$defs/{self.names[pointer]}"}, Named(self.names[pointer], self.plans)

    def target(self, pointer: str) -> Any:
        """What a local reference points to."""
        here: Any = self.schema
        if not pointer.startswith("#") or (pointer[1:] and pointer[1] != "/"):
            raise Uncarried(f"the reference {pointer!r} is no JSON Pointer into the schema")
        try:
            for step in filter(None, unquote(pointer[1:]).split("/")):
                step = step.replace("~1", "/").replace("~0", "~")
                here = here[int(step)] if isinstance(here, list) else here[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Uncarried(f"the reference {pointer!r} leads nowhere") from None
        return here

    def contains_itself(self, pointer: str) -> bool:
        seen: set[str] = set()
        waiting = list(references(self.target(pointer)))
        while waiting:
            found = waiting.pop()
            if found == pointer:
                return True
            if found not in seen:
                seen.add(found)
                waiting += references(self.target(found))
        return False

    def merged(self, schema: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], Plan | None]:
        """`allOf` of one part, the form in which some generators put a description beside a reference."""
        if len(schema["allOf"]) != 1 or not isinstance(schema["allOf"][0], dict):
            raise Uncarried("strict mode has no `allOf`")
        rest = {word: value for word, value in schema.items() if word != "allOf"}
        if rest.keys() & {"properties", "anyOf", "oneOf", "items"}:
            raise Uncarried("strict mode has no `allOf`")
        return self.any(schema["allOf"][0] | said(rest), path)

    def union(
        self, schema: dict[str, Any], choices: list[Any], path: tuple[str, ...]
    ) -> tuple[dict[str, Any], Plan | None]:
        wires: list[dict[str, Any]] = []
        plans: list[Plan | None] = []
        nullable, about = False, said(schema)
        for choice in choices:
            wire, plan = self.inside(choice, path, "anyOf" if "anyOf" in schema else "oneOf")
            if wire.get("type") == "null":
                nullable = True
                continue
            wires.append(wire)
            plans.append(plan)
        back = Alternatives(list(zip(wires, plans, strict=True)), self.definitions) if any(plans) else None
        if not wires:
            return NULL | about, None
        return {"anyOf": wires + ([NULL] if nullable else [])} | about, back

    def object(self, schema: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], Plan | None]:
        properties = schema.get("properties") or {}
        rest = schema.get("additionalProperties", True)
        if not properties and rest is not False:
            return self.map(schema, rest, path)
        if isinstance(rest, dict):
            raise Uncarried("strict mode has no object with both named properties and others")
        if not set(schema.get("required", ())) <= set(properties):
            raise Uncarried("`required` names a property that is not described")
        wires: dict[str, Any] = {}
        plans: dict[str, Plan] = {}
        absent: set[str] = set()
        for name, inner in properties.items():
            wire, plan = self.inside(inner, (*path, camel(name)), "properties", name)
            if name not in schema.get("required", ()) and not takes_null(wire):
                absent.add(name)
                wire = or_null(wire)
            wires[name] = wire
            if plan:
                plans[name] = plan
        return closed(wires, said(schema)), Record(plans, frozenset(absent)) if plans or absent else None

    def map(self, schema: dict[str, Any], rest: Any, path: tuple[str, ...]) -> tuple[dict[str, Any], Plan | None]:
        """An open map travels as a list of entries (providers 3.5)."""
        if not isinstance(rest, dict) or not rest:
            raise Uncarried("an object of any properties; name them, or the type of their values")
        names = schema.get("propertyNames", {})
        key, _ = self.any({"type": "string"} | (names if isinstance(names, dict) else {}), (*path, "Key"))
        value, plan = self.inside(rest, (*path, "Value"), "additionalProperties")
        entry = closed({"key": key, "value": value}, {"title": "".join(path) + "Entry"})
        about = {"title": "".join(path) + "Map"} | {word: schema[word] for word in ("description",) if word in schema}
        return closed({"entries": {"type": "array", "items": entry}}, about), Map(plan)


def said(schema: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a place that strict mode takes beside its type."""
    return {word: schema[word] for word in KEPT if word in schema}


def closed(properties: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    return (
        {"type": "object"}
        | about
        | {"properties": properties, "required": list(properties), "additionalProperties": False}
    )


def takes_null(wire: dict[str, Any]) -> bool:
    sort = wire.get("type")
    return (
        sort == "null"
        or (isinstance(sort, list) and "null" in sort)
        or NULL in wire.get("anyOf", ())
        or None in wire.get("enum", ())
    )


def or_null(wire: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in wire:
        return wire | {"anyOf": [*wire["anyOf"], NULL]}
    about = {word: wire[word] for word in ("description",) if word in wire}
    return {"anyOf": [{word: value for word, value in wire.items() if word not in about}, NULL]} | about


def references(schema: Any) -> Iterator[str]:
    """Every `$ref` inside `schema`."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
