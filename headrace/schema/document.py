"""Read a caller's JSON Schema: its dialect, the place of each subschema, and the targets of its references.

Nothing is fetched. A schema that is too large, too deep, or refers to itself in a cycle without a step into the value is
refused here, before anything is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

import jsonschema_rs

from headrace.errors import InvalidSchemaError, SchemaError
from headrace.schema.patterns import programs_of
from headrace.text.quoting import quoted

MAX_PLACES = 20_000
"""Maximal number of objects and lists in one schema; real ones have some hundreds."""
MAX_VALUES = 50_000
MAX_DEPTH = 100
MAX_TEXT = 1 << 20
SHOWN = 200
MAX_PATHS = 10_000
"""Maximal number of ways in which one value is validated: nested alternatives multiply."""

ONE = frozenset(
    {
        "additionalProperties", "additionalItems", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
NAMED = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})
IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class Dialect(NamedTuple):
    """A version of JSON Schema."""

    name: str
    validator: Any
    reference_alone: bool  # what stands beside a `$ref` counts for nothing
    lists_in_items: bool  # a tuple is `items: […]` and `additionalItems`
    asserts_formats: bool
    uri: str


OLD, NEW = "http://json-schema.org/draft-0{}/schema#", "https://json-schema.org/draft/{}/schema"
DRAFT_7 = Dialect("draft 7", jsonschema_rs.Draft7Validator, True, True, True, OLD.format(7))
DRAFT_2019 = Dialect("2019-09", jsonschema_rs.Draft201909Validator, False, True, False, NEW.format("2019-09"))
DRAFT_2020 = Dialect("2020-12", jsonschema_rs.Draft202012Validator, False, False, False, NEW.format("2020-12"))
DIALECTS = {
    "json-schema.org/schema": DRAFT_2020._replace(asserts_formats=True),
    "json-schema.org/draft-04/schema": Dialect(
        "draft 4", jsonschema_rs.Draft4Validator, True, True, True, OLD.format(4)
    ),
    "json-schema.org/draft-06/schema": Dialect(
        "draft 6", jsonschema_rs.Draft6Validator, True, True, True, OLD.format(6)
    ),
    "json-schema.org/draft-07/schema": DRAFT_7,
    "json-schema.org/draft/2019-09/schema": DRAFT_2019,
    "json-schema.org/draft/2020-12/schema": DRAFT_2020,
}
SCHEMA = {"type": ["object", "boolean"]}
"""Schema of a property that holds a schema; the validator checks the rest."""
ANY: dict[str, Any] = {}
UNNAMED = DRAFT_2020._replace(asserts_formats=True)
"""The dialect without `$schema`: 2020-12, except that formats are asserted, as authors expect."""


class Place(NamedTuple):
    """The place of a subschema: its JSON Pointer in the whole, and the URI that its references are relative to."""

    pointer: str
    uri: str


class Source:
    """A parsed schema. Raises `SchemaError` for one that no target can take."""

    def __init__(self, schema: dict[str, Any]):
        check_size(schema)
        self.root = schema
        self.dialect = dialect_of(schema)
        self.places: dict[int, Place] = {}
        self.embedded: list[dict[str, Any]] = []  # with an `$id` of their own
        self._resources: dict[str, Any] = {}
        self._anchors: dict[str, Any] = {}
        self._dynamic: dict[str, list[Any]] = {}
        self._read(schema, "", "")
        self.programs = programs_of(self)
        self._resources.setdefault("", schema)
        self._check_progress()

    @cached_property
    def branches_into_itself(self) -> bool:
        """Return True if a value may be described by alternatives that recur on the same value."""
        all_of_it = list(self.all_of_it())
        if not any("anyOf" in schema or "oneOf" in schema for schema in all_of_it):
            return False
        below = {
            id(schema): [
                id(inner) for _, inner in (*subschemas(schema), *self.references(schema)) if isinstance(inner, dict)
            ]
            for schema in all_of_it
        }
        state: dict[int, int] = {}
        for start in below:
            path = [(start, iter(below[start]))] if start not in state else []
            state.setdefault(start, 1)
            while path:
                here, following = path[-1]
                inner = next(following, None)
                if inner is None:
                    state[here] = 2
                    path.pop()
                elif state.get(inner) == 1:
                    return True
                elif inner not in state:
                    state[inner] = 1
                    path.append((inner, iter(below.get(inner, ()))))
        return False

    def pointer(self, schema: Any) -> str:
        """Return the JSON Pointer of a subschema; that of the root where it is none of this source's."""
        place = self.places.get(id(schema))
        return place.pointer if place else ""

    def alone(self, schema: dict[str, Any]) -> bool:
        """Return True if `schema` is nothing but its `$ref`."""
        return self.dialect.reference_alone and "$ref" in schema

    def references(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the targets of the references in `schema`. A `$dynamicRef` with several possible targets yields none."""
        for word in REFERENCES:
            if isinstance(schema.get(word), str) and (word == "$ref" or not self.alone(schema)):
                target = self.target(schema, word)
                if target is not None:
                    yield word, target

    def target(self, schema: dict[str, Any], word: str) -> Any:
        """Return the target of `schema[word]`; None for a dynamic one that only validation can resolve."""
        reference = schema[word]
        place = self.places.get(id(schema), Place("", ""))
        if word == "$recursiveRef":
            return None
        uri, _, fragment = joined(place.uri, reference).partition("#")
        base = self._resources.get(uri)
        if base is None and uri == self.dialect.uri.removesuffix("#"):  # the only one that the validator has at hand
            return SCHEMA if not fragment else ANY
        if base is None:
            base = self.outside(uri, reference, f"{place.pointer}/{word}")
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get(f"{self.places[id(base)].uri}#{unquote(fragment)}")
        else:
            found = pointed(base, unquote(fragment))
        if word == "$dynamicRef" and isinstance(found, dict) and found.get("$dynamicAnchor") == fragment:
            known = self._dynamic[fragment]
            return found if len(known) == 1 else None
        if not isinstance(found, dict | bool):
            raise SchemaError(
                f"schema at {place.pointer}/{word}: {quoted(reference)} leads nowhere",
                pointer=f"{place.pointer}/{word}",
                keyword=word,
                remedy="name a definition that is there",
            )
        if isinstance(found, dict) and id(found) not in self.places:
            pointer = self.pointer(base) + unquote(fragment)
            if found is not SCHEMA and found is not ANY:
                self._check_words(found, pointer)
            self._read(found, pointer, uri)
        return found

    def outside(self, uri: str, reference: str, at: str) -> Any:
        """Return the external schema of `uri`, to which the `reference` at `at` refers. Raises `SchemaError`."""
        raise SchemaError(
            f"schema at {at}: {quoted(reference)} leads out of the schema, and nothing is fetched",
            pointer=at,
            keyword=at.rpartition("/")[2],
            remedy="copy what it names under `$defs` and refer to it there, as `#/$defs/…`, or let `bundle` of "
            "`headrace.schema` put it there",
        )

    def _check_words(self, schema: dict[str, Any], at: str) -> None:
        """Raise `InvalidSchemaError` for what is no schema at a reference's target: the validator does not check it there."""
        try:
            jsonschema_rs.meta.validate({**schema, "$schema": self.dialect.uri})
        except jsonschema_rs.ValidationError as error:
            path = [str(step) for step in error.instance_path]
            where = "/".join([at, *map(escaped, path)])
            raise InvalidSchemaError(
                f"schema at {where}: {error.message[:SHOWN]}",
                pointer=where,
                keyword=path[-1] if path else "",
                remedy="see JSON Schema for what may stand there",
            ) from None

    def _read(self, schema: Any, pointer: str, uri: str) -> None:
        """Record every subschema below, its place and its names."""
        waiting = [(schema, pointer, uri)]
        while waiting:
            here, at, base = waiting.pop()
            if not isinstance(here, dict) or id(here) in self.places:
                continue
            named = here.get("$id", here.get("id") if self.dialect.name == "draft 4" else None)
            if isinstance(named, str) and not self.alone(here):
                whole = joined(base, named)
                base, _, fragment = whole.partition("#")
                if fragment:
                    self._anchors[whole] = here
                else:
                    self._resources[base] = here
                    self.embedded += [here] if here is not self.root else []
            if not at:
                self._resources.setdefault(base, here)
            self.places[id(here)] = Place(at, base)
            for word in ("$anchor", "$dynamicAnchor"):
                if isinstance(here.get(word), str):
                    self._anchors[f"{base}#{here[word]}"] = here
            if isinstance(here.get("$dynamicAnchor"), str):
                self._dynamic.setdefault(here["$dynamicAnchor"], []).append(here)
            waiting.extend((inner, f"{at}/{step}", base) for step, inner in subschemas(here))

    def _check_progress(self) -> None:
        """Raise `SchemaError` for a schema that describes a value by itself in a cycle, which means nothing, and for one
        that takes more than `MAX_PATHS` ways through one value."""
        ways: dict[int, int] = {}
        for start in self.all_of_it():
            path = [(start, self.in_place(start))] if id(start) not in ways else []
            active = {id(start): 1}
            while path:
                here, following = path[-1]
                inner = next(following, None)
                if inner is None:
                    path.pop()
                    ways[id(here)] = count = active.pop(id(here))
                    if count > MAX_PATHS:
                        raise self._refused(here, "it combines too many alternatives", "combine fewer of them")
                    if path:
                        active[id(path[-1][0])] += count
                elif id(inner) in active:
                    raise self._refused(
                        here,
                        "it refers to itself without getting anywhere",
                        "put the reference under a property or under `items`",
                    )
                elif id(inner) in ways:
                    active[id(here)] += ways[id(inner)]
                else:
                    active[id(inner)] = 1
                    path.append((inner, self.in_place(inner)))

    def _refused(self, here: dict[str, Any], what: str, remedy: str) -> SchemaError:
        keyword = next((word for word in (*REFERENCES, *IN_PLACE) if word in here), "$ref")
        where = self.pointer(here)
        return SchemaError(f"schema at {where or '/'}: {what}", pointer=where, keyword=keyword, remedy=remedy)

    def all_of_it(self) -> Iterator[Any]:
        """Yield every subschema that the root or a reference leads to, once."""
        seen: set[int] = set()
        waiting = [self.root]
        while waiting:
            here = waiting.pop()
            if not isinstance(here, dict) or id(here) in seen:
                continue
            seen.add(id(here))
            yield here
            waiting += [inner for _, inner in subschemas(here)]
            waiting += [target for _, target in self.references(here)]

    def in_place(self, schema: Any) -> Iterator[Any]:
        """Yield the subschemas that describe the same value as `schema`."""
        for _, target in self.references(schema):
            if isinstance(target, dict):
                yield target
        if self.alone(schema):
            return
        for step, inner in subschemas(schema):
            if step.partition("/")[0] in IN_PLACE and isinstance(inner, dict):
                yield inner


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the subschemas of `schema` and the steps to them, as parts of a JSON Pointer. Not what `enum` or `const` hold."""
    for word, value in schema.items():
        if word in NAMED and isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, dict | bool):
                    yield f"{word}/{escaped(name)}", inner
        elif word in SEVERAL and isinstance(value, list):
            for index, inner in enumerate(value):
                yield f"{word}/{index}", inner
        elif word in ONE and isinstance(value, dict | bool):
            yield word, value


def pointed(here: Any, pointer: str) -> Any:
    """Return the target of a JSON Pointer; None for no such."""
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            here = here[int(step)] if isinstance(here, list) else here[step]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return here


def joined(base: str, reference: str) -> str:
    """Resolve `reference` against `base`; unlike `urljoin` also where the base is a URN, and where it is no URI."""
    try:
        return base.partition("#")[0] + reference if reference.startswith("#") else urljoin(base, reference)
    except ValueError:
        return reference


def escaped(name: Any) -> str:
    """Return a step of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def dialect_of(schema: dict[str, Any]) -> Dialect:
    """Return the dialect of `$schema`; without it, draft 7 if one of its own keywords is used. Raises `SchemaError` for an
    unknown one."""
    named = schema.get("$schema")
    if isinstance(named, str):
        found = DIALECTS.get(named.removesuffix("#").partition("://")[2])
        if found is None:
            raise SchemaError(
                f"schema at /$schema: {quoted(named)} is no known version of JSON Schema",
                pointer="/$schema",
                keyword="$schema",
                remedy="leave it out, or name https://json-schema.org/draft/2020-12/schema",
            )
        return found
    if "$defs" in schema:
        return UNNAMED
    waiting: list[Any] = [schema]
    seen: set[int] = set()
    while waiting:
        here = waiting.pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen.add(id(here))
        if here.keys() & {"additionalItems", "dependencies", "definitions"} or isinstance(here.get("items"), list):
            return DRAFT_7
        waiting += [inner for _, inner in subschemas(here)]
        if isinstance(here.get("$ref"), str) and here["$ref"].startswith("#/"):  # OpenAPI has its definitions elsewhere
            waiting.append(pointed(schema, unquote(here["$ref"][1:])))
    return UNNAMED


def not_json(where: str, value: Any) -> SchemaError:
    return SchemaError(
        f"schema at {where or '/'}: {value!r:.80} is nothing that JSON has",
        pointer=where,
        keyword=where.rpartition("/")[2] or "json",
        remedy="use texts, finite numbers, booleans, null, lists, and objects with texts as names",
    )


def check_size(schema: Any) -> None:
    """Raise `SchemaError`, with the place, for a schema larger than any real one; it stops there."""
    places = values = text = 0
    waiting: list[tuple[Any, str, int]] = [(schema, "", 0)]
    while waiting:
        here, at, depth = waiting.pop()
        places += 1
        values += len(here)
        if values <= MAX_VALUES:
            for step, inner in here.items() if isinstance(here, dict) else enumerate(here):
                if isinstance(inner, dict | list):
                    waiting.append((inner, f"{at}/{escaped(step)}", depth + 1))
                elif isinstance(inner, str):
                    text += len(inner)
                elif not isinstance(inner, int | float | None) or (
                    isinstance(inner, float) and not math.isfinite(inner)
                ):
                    raise not_json(f"{at}/{escaped(step)}", inner)
                if not isinstance(step, str | int) or (isinstance(here, dict) and not isinstance(step, str)):
                    raise not_json(at, step)
                if isinstance(step, str):
                    text += len(step)
        for what, count, limit in (
            ("nested too deep", depth, MAX_DEPTH),
            ("too many parts", places, MAX_PLACES),
            ("too many values", values, MAX_VALUES),
            ("too much text", text, MAX_TEXT),
        ):
            if count > limit:
                raise SchemaError(
                    f"schema at {at[:SHOWN] or '/'}: {what}: {limit} is the most",
                    pointer=at,
                    keyword=at.rpartition("/")[2],
                    remedy="describe less: fewer values, a flatter shape, or a text where the detail does not matter",
                )
