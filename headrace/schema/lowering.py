"""Build the nodes of a schema's places: their wire form, and notes of everything that the wire schema cannot express."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import jsonschema_rs
import msgspec

from headrace.errors import SHOWN, SchemaError
from headrace.schema.descriptions import DescriptionWriter, one_of
from headrace.schema.document import Source
from headrace.schema.formats import LENIENT_FORMATS
from headrace.schema.json_encoded import JsonText, JsonTextEnum
from headrace.schema.lists import Lists
from headrace.schema.merge import (
    TYPES,
    Choices,
    Merged,
    canonical,
    flatten,
    is_shaping,
    json_type,
    merge,
)
from headrace.schema.nodes import VALUE, Node, Plain
from headrace.schema.objects import Objects
from headrace.schema.targets import Target, is_simple
from headrace.schema.unions import Definition, Reference, Union, without_null
from headrace.schema.wire_schema import OF_TYPE, Writer
from headrace.text.quoting import quoted

Reading = Literal["literal", "intended"]
MAX_NODES = 8_000
MAX_WORK = 100_000
"""Maximal number of parts of all places, and of their properties: those of a place are merged for each reference to it."""
MAX_CASES = 64
"""Maximal number of alternatives of one place, all combinations of several `anyOf` counted; beyond, it is sent as JSON text."""
MAX_BRANCHES = 250
SCALARS = ("null", "boolean", "integer", "number", "string")
NEVER = False
OF_SCALARS = frozenset(word for words in OF_TYPE.values() for word in words) - {"format"}


class Note(msgspec.Struct, frozen=True):
    """A difference between the wire schema and the caller's. `how` is `moved` (it is sent in another shape) or `validated`
    (the answer is validated, the model is not constrained)."""

    pointer: str
    keyword: str
    how: Literal["moved", "validated"]
    text: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.keyword}: {self.text}"


class Lowering:
    """The nodes of one schema. Every place is built once; a recursive one becomes a definition."""

    def __init__(self, source: Source, target: Target, reading: Reading, *, described: Sequence[frozenset[Any]] = ()):
        self.described = described  # enums that are too large, by their values in canonical form
        self.describing = DescriptionWriter(source)
        self.source = source
        self.target = target
        self.literal = reading == "literal"
        self.formats = not self.literal or source.draft.asserts_formats
        self.notes: dict[tuple[str, str, str], Note] = {}
        self._made: dict[Any, Node | None] = {}
        self._open: dict[Any, Definition | None] = {}
        self._valid: dict[int, tuple[Node, Any]] = {}
        self._called: dict[tuple[int, frozenset[tuple[int, str]]], Node] = {}
        self._count = 0
        self._work = 0
        self.nothing: str | None = None
        """The pointer of the place under which nothing is valid, while that is what its parents are refused for."""
        self.forbidden: dict[str, str] = {}
        """By the pointer of a `required`: the property in it that no object may have."""
        self.kept: list[Any] = []  # schemas made here; the parts are known by their `id`

    def root(self) -> Node:
        node = self.place([self.source.root])
        if node is None:
            where = self.nothing or ""
            name = self.forbidden.get(where)
            raise SchemaError(
                f"schema at {where or '/'}: "
                + ("nothing is valid under it" if name is None else f"{quoted(name)} is required, and not allowed"),
                pointer=where,
                keyword="false" if name is None else "required",
                remedy="allow something; no value fits all that is said there"
                if name is None
                else f"describe {quoted(name)} under `properties`, or take it out of `required`",
            )
        return node

    def said(self) -> list[Note]:
        return list(self.notes.values())

    def note(self, where: str, keyword: str, how: Literal["moved", "validated"], text: str) -> None:
        self.notes.setdefault((where, keyword, how), Note(where, keyword, how, text))

    def place(self, schemas: Sequence[Any], resolved: frozenset[tuple[int, str]] = frozenset()) -> Node | None:
        """Return the node of a place where all of `schemas` hold; None where no value is valid."""
        about, inner = self.beside(schemas)
        if about is not None:
            called = id(schemas[0]), resolved
            if called in self._called:
                return self._called[called]
            node = self.place([inner], resolved)
            if node is None or not about or isinstance(node, Reference):
                return node
            node = copy.copy(node)
            node.about = {**node.about, **about}
            self._called[called] = node
            return node
        parts = flatten(self.source, list(schemas))
        self._work += sum(1 + len(part.get("properties") or ()) for part in parts if part is not NEVER)
        if self._work > MAX_WORK:
            where = self.source.pointer(parts[0])
            raise SchemaError(
                f"schema at {where[:SHOWN] or '/'}: its references and `allOf` lead to the same parts too often",
                pointer=where,
                keyword="$ref",
                remedy="shorten the chains of `$ref` and `allOf`",
            )
        key = (tuple(id(part) for part in parts), resolved)
        if key in self._made:
            return self._made[key]
        if key in self._open:
            definition = self._open[key]
            if definition is None:
                definition = self._open[key] = Definition(self.name_of(parts))
            reference = Reference(definition)
            reference.about, reference.pointer = {}, ""
            return reference
        self._count += 1
        if self._count > MAX_NODES:
            where = self.source.pointer(parts[0]) if parts else ""
            raise SchemaError(
                f"schema at {where or '/'}: it has too many parts once written out",
                pointer=where,
                keyword="allOf",
                remedy="combine fewer `anyOf`, `oneOf` and `allOf`",
            )
        self._open[key] = None
        before = len(self._made), len(self._called)
        merged = merge(self.source, parts, resolved)
        node = None if merged.never else self.node(merged, parts, resolved)
        definition = self._open.pop(key)
        if node is None:
            if definition is not None:  # what was made inside may lead here, where nothing is
                for made, count in zip((self._made, self._called), before, strict=True):
                    for each in list(made)[count:]:
                        del made[each]
            self._made[key] = None
            self.kept.append(parts)
            if self.nothing is None and NEVER not in parts:
                self.nothing = merged.pointer
            return None
        self.nothing = None
        if not hasattr(node, "about"):
            node.about, node.pointer = merged.about, merged.pointer
        node.parts = parts
        if definition is not None:
            definition.node = node
            node = Reference(definition)
            node.about, node.pointer = {}, merged.pointer
        self._made[key] = node
        self.kept.append(parts)
        return node

    def beside(self, schemas: Sequence[Any]) -> tuple[dict[str, str] | None, Any]:
        """Return the title and description beside a lone reference, and its target: the same node under another name."""
        if len(schemas) != 1 or not isinstance(schemas[0], dict) or self.source.alone(schemas[0]):
            return None, None
        (schema,) = schemas
        words = {word for word in schema if word not in ANNOTATIONS}
        if words not in ({"$ref"}, {"allOf"}) or ("allOf" in words and len(schema["allOf"]) != 1):
            return None, None
        inner = self.source.target(schema, "$ref") if "$ref" in words else schema["allOf"][0]
        if isinstance(inner, bool):
            return None, None
        return {word: schema[word] for word in ("title", "description") if isinstance(schema.get(word), str)}, inner

    def name_of(self, parts: list[Any]) -> str:
        for part in parts:
            named = str(part.get("$ref", "")) if isinstance(part, dict) else ""
            name = named.rpartition("/")[2] or self.source.pointer(part).rpartition("/")[2]
            if name.strip("#"):
                return name
        return str(self.source.root.get("title") or "Root")

    def node(self, merged: Merged, parts: list[Any], resolved: frozenset[tuple[int, str]]) -> Node | None:
        for where, word in merged.unsaid:
            self.note(where, word, "validated", "the answer is checked for it")
        if merged.values is not None:
            return self.values(merged)
        choices = self.structural(merged)
        if choices:
            return self.union(merged, choices, parts, resolved)
        types = self.types(merged)
        if not types:
            return None
        return self.alternatives([self.of_type(merged, resolved, kind) for kind in types], merged)

    def values(self, merged: Merged) -> Node | None:
        """Return the node of an enum: plain for scalars, else the JSON texts of its values."""
        types = merged.types
        values = [
            value
            for value in {canonical(each): each for each in merged.values or ()}.values()
            if types is None or json_type(value) in types
        ]
        if not values:
            return None
        kinds = list(dict.fromkeys(json_type(value) for value in values))
        if "number" in kinds and "integer" in kinds:
            kinds.remove("integer")
        node = Plain(kinds, {}, values) if set(kinds) <= {*SCALARS} else JsonTextEnum(values)
        if self.is_long(node.few or frozenset()):
            self.note(merged.pointer, "enum", "validated", f"{len(values)} values are too many for {self.target.name}")
            if isinstance(node, Plain):
                node = Plain(kinds, {})
                node.said = one_of(values)
            else:
                node = JsonText(said=one_of(values, "JSON text of one of: "))
        elif isinstance(node, JsonTextEnum):
            self.note(merged.pointer, "enum", "moved", "its values travel as JSON texts")
        return node

    def is_long(self, values: frozenset[Any]) -> bool:
        """Return True if an enum has more values, or longer ones, than the target takes; `values` are in canonical form."""
        texts = sum(len(value) for value in values if isinstance(value, str))
        return (
            len(values) > self.target.enum_values
            or (len(values) > self.target.long_enum and texts > self.target.long_enum_chars)
            or any(each <= values for each in self.described)
        )

    def structural(self, merged: Merged) -> list[Choices]:
        """Return the choices whose alternatives differ in shape. Where they only prohibit, their neighbours define the
        shape."""
        shaping: list[Choices] = []
        for choice in merged.choices:
            shaped = [is_shaping(self.source, branch) for branch in choice.branches]
            known = merged.types is not None or bool(merged.hints)
            if any(shaped) or (not known and self.literal is False and any(shaped)):
                shaping.append(choice)
            else:
                self.note(choice.pointer.rpartition("/")[0], choice.word, "validated", "its alternatives only forbid")
        return shaping

    def union(
        self, merged: Merged, choices: list[Choices], parts: list[Any], resolved: frozenset[tuple[int, str]]
    ) -> Node | None:
        combined = 1
        for choice in choices:
            combined *= max(len(choice.branches), 1)
        if combined > MAX_CASES and len(choices) > 1:
            self.note(choices[0].pointer, choices[0].word, "moved", f"{combined} combinations: it travels as JSON text")
            return self.text(merged)
        first = choices[0]
        if len(first.branches) > MAX_BRANCHES:
            self.note(
                first.pointer, first.word, "moved", f"{len(first.branches)} alternatives: it travels as JSON text"
            )
            return self.text(merged)
        if first.word == "oneOf":
            self.note(first.pointer.rpartition("/")[0], "oneOf", "validated", "that only one alternative fits")
        done = resolved | {first.key}
        # A part that is nothing but the choice adds nothing to its alternatives, and would give them its own names.
        base = [
            part
            for part in parts
            if part is NEVER or not (id(part) == first.key[0] and part.keys() <= BARE | {first.word})
        ]
        nodes = [
            self.place([*base, branch] if base else [branch], done if base else frozenset())
            for branch in first.branches
        ]
        return self.alternatives(nodes, merged)

    def alternatives(self, given: Sequence[Node | None], merged: Merged) -> Node | None:
        """Return the union node, with as few cases as possible: equal ones once, and JSON text absorbs all others."""
        nodes: list[Node] = []
        for node in filter(None, given):
            if not hasattr(node, "about"):
                node.about, node.pointer = {}, merged.pointer
            flat = node.nodes if isinstance(node, Union) and not node.about else [node]
            nodes += [each for each in flat if not any(each is other for other in nodes)]
        whole = next((node for node in nodes if isinstance(node, JsonText) and node.kinds is None), None)
        if whole is not None:
            return self.text(merged)
        if any(isinstance(node, JsonText | JsonTextEnum) for node in nodes):
            nodes = [each for node in nodes for each in without_null(node)]
        nulls = [node for node in nodes if isinstance(node, Plain) and node.types == ["null"]]
        nodes = [node for node in nodes if node not in nulls[1:]]
        if not nodes:
            return None
        if len(nodes) == 1:
            only = copy.copy(nodes[0])
            if not isinstance(only, Reference):
                only.about = {**only.about, **merged.about}
            return only
        union = Union(nodes, self.fits)
        union.about = merged.about if len(given) > 1 else {}
        union.pointer = merged.pointer
        return union

    def fits(self, node: Node, wire: Any) -> bool:
        """Return True if `wire` is valid under the wire schema of `node` alone."""
        if id(node) not in self._valid:
            schema = Writer(self.target, shared=True).document(node, "", wrapped=True)
            more = {} if self.literal else LENIENT_FORMATS
            self._valid[id(node)] = (
                node,
                jsonschema_rs.Draft202012Validator(schema, validate_formats=True, formats=more),
            )
        return self._valid[id(node)][1].is_valid({VALUE: wire})

    def types(self, merged: Merged) -> list[str]:
        """Return the types to build nodes of, scalars as one. Without a `type`, `any` is JSON text of the remaining ones."""
        if merged.types is not None:
            scalars = [kind for kind in SCALARS if kind in merged.types]
            kinds = ["scalars"] if scalars else []
            return [*kinds, *(kind for kind in ("array", "object") if kind in merged.types)]
        meant = [kind for kind in ("object", "array", "string", "number") if kind in merged.hints]
        if self.literal:
            shaped = [kind for kind in meant if kind in ("object", "array")]
            if not (merged.names or merged.patterns or merged.rest) and "object" in shaped:
                shaped.remove("object")
            if not (merged.prefix or merged.items) and "array" in shaped:
                shaped.remove("array")
            return [*shaped, "any"]
        if meant and (set(meant) <= {"object", "array"} or len(meant) == 1):
            return meant
        return ["any"]

    def of_type(self, merged: Merged, resolved: frozenset[tuple[int, str]], kind: str) -> Node | None:
        if kind == "object":
            return Objects(self).node(merged, resolved)
        if kind == "array":
            return Lists(self).node(merged)
        if kind == "any":
            shaped = {each for each in self.types(merged) if each != "any"}
            node = self.text(merged)
            node.kinds = {each for each in TYPES if each not in shaped} if shaped else None
            return node
        types = [each for each in SCALARS if each in (merged.types or ())] if kind == "scalars" else [kind]
        if "number" in types and "integer" in types:
            types.remove("integer")
        if len(types) > 1:
            types = [each for each in self.order(merged.parts) if each in types] or types
        for word in merged.limits:
            self.check_limit(merged, word, types)
        if "string" in types:
            for word in self.target.dropped(merged.limits):
                self.note(merged.pointer, word, "validated", f"{self.target.name} would drop it beside the others")
        limits = {word: value for word, value in merged.limits.items() if word != "format" or self.formats}
        return Plain(types, limits)

    def order(self, parts: list[Any]) -> list[str]:
        """Return the types in the caller's order."""
        for part in parts:
            if isinstance(part, dict) and isinstance(part.get("type"), list):
                return part["type"]
        return []

    def check_limit(self, merged: Merged, word: str, types: list[str]) -> None:
        value = merged.limits[word]
        if word == "format" and "string" in types and (value not in self.target.formats or not self.formats):
            how = "validated" if self.formats else "moved"
            self.note(merged.pointer, word, how, f"{self.target.name} has no format {quoted(value)}")
        elif word == "pattern" and "string" in types and not is_simple(str(value)):
            self.note(merged.pointer, word, "validated", "constrained decoding does not take such a pattern")
        elif word in OF_SCALARS and word not in self.target.keywords:
            self.note(merged.pointer, word, "validated", f"{self.target.name} does not take it")

    def text(self, merged: Merged) -> JsonText:
        self.note(
            merged.pointer, "type", "moved", "no type is named that a strict schema can hold: it travels as JSON text"
        )
        node = JsonText(said=self.describing.text(merged.parts))
        node.about, node.pointer = {**merged.about}, merged.pointer
        return node

    def untyped(self, merged: Merged, word: str) -> Node:
        self.note(f"{merged.pointer}/{word}", "type", "moved", "no type is named: each travels as JSON text")
        node = JsonText()
        node.about, node.pointer = {}, f"{merged.pointer}/{word}"
        return node


ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
)
BARE = frozenset({"$defs", "definitions", "$schema", "$id", "discriminator"}) | ANNOTATIONS
