"""Read a caller's JSON Schema: its draft, the place of each subschema, and the targets of its references.

Nothing is fetched. What refers to itself without getting anywhere is refused here, before anything is compiled from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

import jsonschema_rs

from headrace.errors import SHOWN, InvalidSchemaError, SchemaError
from headrace.schema.drafts import Draft, draft_of
from headrace.schema.patterns import programs_of
from headrace.schema.size import check_size
from headrace.schema.subschemas import escaped, pointed, subschemas
from headrace.text.quoting import quoted

MAX_URI = 4096
"""Maximal characters of an `$id`, and of a document's name: references are resolved against it."""
MAX_PATHS = 10_000
"""Maximal number of ways in which one value is validated: nested alternatives multiply."""

IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


SCHEMA = {"type": ["object", "boolean"]}
"""Schema of a property that holds a schema; the validator checks the rest."""
ANY: dict[str, Any] = {}


class Place(NamedTuple):
    """The place of a subschema: its JSON Pointer in the whole, and the URI that its references are relative to."""

    pointer: str
    uri: str


class Source:
    """A parsed schema. Raises `SchemaError` for one that no target can take."""

    def __init__(self, schema: dict[str, Any], draft: Draft | None = None):
        check_size(schema)
        self.root = schema
        self.draft = draft or draft_of(schema)
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
        return self.draft.reference_alone and "$ref" in schema

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
        if base is None and uri == self.draft.uri.removesuffix("#"):  # the only one that the validator has at hand
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
            jsonschema_rs.meta.validate({**schema, "$schema": self.draft.uri})
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
            named = here.get("$id", here.get("id") if self.draft.name == "draft 4" else None)
            if isinstance(named, str) and not self.alone(here):
                if len(named) > MAX_URI:
                    raise SchemaError(
                        f"schema at {at[:SHOWN] or '/'}: an `$id` of {len(named)} characters: {MAX_URI} is the most",
                        pointer=at,
                        keyword="$id",
                        remedy="give it a shorter name",
                    )
                whole = joined(base, named)
                base, _, fragment = whole.partition("#")
                if fragment:
                    self._anchors[whole] = here
                else:
                    if self._resources.get(base, here) != here:
                        raise SchemaError(
                            f"schema at {at[:SHOWN] or '/'}: another schema has the `$id` {quoted(base)} already",
                            pointer=at,
                            keyword="$id",
                            remedy="give each a name of its own",
                        )
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


def joined(base: str, reference: str) -> str:
    """Resolve `reference` against `base`; unlike `urljoin` also where the base is a URN, and where it is no URI."""
    try:
        return base.partition("#")[0] + reference if reference.startswith("#") else urljoin(base, reference)
    except ValueError:
        return reference
