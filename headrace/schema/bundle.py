"""Bundle a schema with the documents that it refers to into one that is self-contained: nothing else is stored or sent.

The documents are given; nothing is fetched. References are resolved as JSON Schema says: a document's base URI is its
`$id`, else the name under which it was found. In the result they are pointers into it, and names (`$id`, anchors) are gone.
Only where a dynamic reference needs the names do they stay: then it is a compound schema document, each part with its
absolute `$id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from headrace.errors import SHOWN, InvalidSchemaError, SchemaError
from headrace.schema.bundle_draft import Part, check_words, common_draft
from headrace.schema.document import REFERENCES, Source, joined
from headrace.schema.documents import (
    DocumentMapping,
    Documents,
    Unavailable,
    identifiers,
    is_same,
    normalized,
    of_document,
)
from headrace.schema.drafts import UNNAMED, UNNAMED_2019, Draft, draft_of
from headrace.schema.resources import NAMES, too_long_names
from headrace.schema.size import MAX_PLACES, MAX_TEXT, check_size
from headrace.schema.subschemas import escaped, subschemas, unescaped
from headrace.schema.validate import compiled, encoded
from headrace.text.quoting import quoted

MAX_BYTES = 4 << 20
"""Maximal bytes (as JSON) of all documents that a schema refers to; the result has the limits of every schema."""

MAX_KEY = 200
"""Maximal characters of a document's name in the definitions: it is in the pointer of whatever the document has."""


def bundle(schema: dict[str, Any], documents: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with the documents that it refers to in its definitions, so that it refers only to itself.

    `documents` maps names to schemas (dicts or booleans). A name is an absolute URI, or one relative to the `$id` of
    `schema`: `{"$ref": "address.json"}` is resolved to `documents["address.json"]`. A document is also found by the `$id`
    in it. Unreferenced documents are left out; a schema that refers to no document is returned unchanged. The result is
    accepted wherever a schema is.

    Raises `SchemaError` with the JSON Pointer of the reference for a document that is missing, that is of another version
    of JSON Schema, or whose `$id` is that of another schema; and for a result that is too large.
    """
    return bundled(schema, lambda base: DocumentMapping(documents, base))


def bundled(schema: dict[str, Any], library: Callable[[str], Documents]) -> dict[str, Any]:
    """Run `bundle` with the documents of `library(base)`; `base` is the URI of the schema, "" for none."""
    if not isinstance(schema, dict):
        raise SchemaError(f"the schema must be a JSON object, not {type(schema).__name__}", keyword="type")
    check_size(schema)
    root = msgspec.json.decode(encoded(schema))  # no part of it twice in memory: parts are known by their identity
    documents: Documents = library(base_of(root))
    try:
        compound = Compound(root, documents)
        if not compound.documents and not compound.refers_by_own_name:
            return schema
        draft = common_draft(compound.root, compound.documents, compound.located_parts())
        if draft != compound.draft:
            compound = Compound(msgspec.json.decode(encoded(schema)), documents, draft)
        for uri, document in compound.documents.items():
            check_words(document, draft, uri)
        whole = compound.written()
    except RecursionError:
        raise SchemaError("the schema is nested too deep", keyword="$ref", remedy="give it a flatter shape") from None
    if draft not in (UNNAMED, UNNAMED_2019):
        whole = {"$schema": draft.uri, **whole}
    try:
        check_size(whole)
        compiled(encoded(whole))
    except SchemaError as error:
        raise compound.placed(error) from None
    return whole


class Compound(Source):
    """A schema and the documents that it refers to, resolved together. Raises `SchemaError`."""

    def __init__(self, schema: dict[str, Any], library: Documents, draft: Draft | None = None):
        self.library = library
        self.documents: dict[str, dict[str, Any]] = {}
        """By the URIs under which they were found."""
        self.keys: dict[str, str] = {}
        """Of the definitions in which they lie, escaped, by URI."""
        self.refers_by_own_name = False
        self.bytes = self.parts = self.pointer_text = 0
        self._taken: set[str] | None = None
        self._uris: dict[str, str] = {}
        self.container = "definitions" if (draft or draft_of(schema)).reference_alone else "$defs"
        try:
            super().__init__(schema, draft)
        except SchemaError as error:
            raise self.placed(error) from None

    def outside(self, uri: str, reference: str, at: str) -> Any:
        """Read the document of that `uri`. Raises `SchemaError`."""
        plain = normalized(uri)
        known = self.root if plain == self.library.own else self._resources.get(plain)
        if known is not None:
            self.refers_by_own_name |= known is self.root
            self._resources[uri] = known
            return known
        try:
            name, document = self.library.document(plain)
            if name in self.documents:
                raise Unavailable("leads to no schema of that name", "name one that is there")
        except Unavailable as error:
            raise self._unresolved(reference, at, error.reason, error.remedy) from None
        document = self._copied(document, name, reference, at)
        canonical = joined(name, document["$id"]) if isinstance(document.get("$id"), str) else name
        known = self._resources.get(canonical.partition("#")[0])
        if known is not None and is_same(known, document):  # one document under two names
            self._resources[uri] = self._resources[name] = known
            return known
        self._check_identifiers(document, name)
        self.documents[name] = self._resources[name] = document
        self.keys[name] = escaped(self._free_key(name))
        self._uris[self.keys[name]] = name
        self._read(document, f"/{self.container}/{self.keys[name]}", name)
        found = self._resources.get(plain)
        if found is None:
            raise self._unresolved(reference, at, "leads to no schema of that name", "name one that is there")
        self._resources[uri] = found
        return found

    def _check_words(self, schema: dict[str, Any], at: str) -> None:
        """Do nothing: the whole is checked, once it is known in which version all of it is read."""

    def all_of_it(self) -> Iterator[Any]:
        """Yield every subschema of the root and of the documents, also of those that are read meanwhile, once."""
        seen: set[int] = set()
        waiting: list[Any] = [self.root]
        taken = 0
        while waiting or taken < len(self.documents):
            if not waiting:
                waiting += list(self.documents.values())[taken:]
                taken = len(self.documents)
            here = waiting.pop()
            if not isinstance(here, dict) or id(here) in seen:
                continue
            seen.add(id(here))
            yield here
            waiting += [inner for _, inner in subschemas(here)]
            waiting += [target for _, target in self.references(here)]

    def written(self) -> dict[str, Any]:
        """Return the bundled schema. Raises `SchemaError`."""
        try:
            named = not self._is_static()
        except SchemaError as error:
            raise self.placed(error) from None
        whole = self._rebuilt(self.root, named)
        definitions = whole.setdefault(self.container, {})
        if not isinstance(definitions, dict):
            raise InvalidSchemaError(
                f"schema at /{self.container}: {quoted(definitions)} is no map of definitions",
                pointer=f"/{self.container}",
                keyword=self.container,
                remedy="write an object: names, and a schema each",
            )
        for uri, document in self.documents.items():
            made = self._rebuilt(document, named)
            made.pop("$schema", None)  # the root's
            if named:
                made["$id"] = self.places[id(document)].uri
            definitions[unescaped(self.keys[uri])] = made
        return whole

    def _is_static(self) -> bool:
        """Return True if pointers can say where every reference leads."""
        for here in self.all_of_it():
            words = [word for word in REFERENCES if isinstance(here.get(word), str)]
            if self.alone(here) or not words:
                continue
            if len(words) > 1 or self.target(here, words[0]) is None:
                return False
        return True

    def _rebuilt(self, value: Any, named: bool) -> Any:
        """Return a copy of `value` with rewritten references."""
        if isinstance(value, list):
            return [self._rebuilt(inner, named) for inner in value]
        if not isinstance(value, dict):
            return value
        made = {word: self._rebuilt(inner, named) for word, inner in value.items()}
        if id(value) not in self.places:
            return made
        for word in REFERENCES if not self.alone(value) else ("$ref",):
            if isinstance(value.get(word), str):
                leads_to = self._canonical(value, word) if named else self._pointer_to(value, word)
                if leads_to is not None:
                    del made[word]
                    made[word if named else "$ref"] = leads_to
        if not named:
            for word in NAMES:
                if isinstance(made.get(word), str) and (word != "id" or self.draft.name == "draft 4"):
                    del made[word]
        return made

    def _pointer_to(self, schema: dict[str, Any], word: str) -> str | None:
        """Return the pointer, in the bundled schema, to the target of `schema[word]`; None for the meta-schema."""
        uri, _, fragment = joined(self.places[id(schema)].uri, schema[word]).partition("#")
        base = self._resources.get(uri)
        if base is None:
            return None
        if fragment and not fragment.startswith("/"):
            pointer = self.pointer(self._anchors[f"{self.places[id(base)].uri}#{unquote(fragment)}"])
        else:
            pointer = self.pointer(base) + unquote(fragment)
        self.pointer_text += len(pointer)
        if self.pointer_text > MAX_TEXT:
            raise self.placed(too_long_names(self.pointer(schema), word))
        return "#" + quote(pointer, safe="/~!$&'()*+,;=:@")

    def _canonical(self, schema: dict[str, Any], word: str) -> str | None:
        """Return the reference under its resource's name in the bundled schema; None if it has that already."""
        uri, mark, fragment = joined(self.places[id(schema)].uri, schema[word]).partition("#")
        base = self._resources.get(uri)
        if base is None or self.places[id(base)].uri == uri:
            return None
        return f"{self.places[id(base)].uri}{mark}{fragment}"

    def _copied(self, document: Any, name: str, reference: str, at: str) -> dict[str, Any]:
        """Return a copy of the document in which every part is an object of its own: places are keyed by `id`. Raises
        `SchemaError` for what is no schema, and for one that is too large."""
        if isinstance(document, bool):
            return {} if document else {"not": {}}
        if not isinstance(document, dict):
            raise self._unresolved(
                reference, at, f"the document is no schema, but of type {type(document).__name__}", "give a JSON object"
            )
        try:
            self.parts += check_size(document)
            text = encoded(document)
        except SchemaError as error:
            raise of_document(error, name) from None
        self.bytes += len(text)
        if self.bytes > MAX_BYTES or self.parts > MAX_PLACES:
            most = f"{MAX_PLACES} parts" if self.parts > MAX_PLACES else f"{MAX_BYTES >> 20} MiB"
            raise self._unresolved(
                reference,
                at,
                f"the documents up to there have more than {most} together",
                "refer to fewer of them, or to smaller ones",
            )
        return msgspec.json.decode(text)

    def _check_identifiers(self, document: dict[str, Any], name: str) -> None:
        for _, uri, pointer, schema in identifiers({name: document}, self.draft):
            if uri in self._resources and not is_same(self._resources[uri], schema):
                raise SchemaError(
                    f"schema at {pointer} of the document {quoted(name)}: another schema has the name {quoted(uri)} already",
                    pointer=pointer,
                    keyword="$id",
                    remedy="give each a name of its own",
                )

    def _free_key(self, name: str) -> str:
        if self._taken is None:
            own = self.root.get(self.container)
            self._taken = set(own) if isinstance(own, dict) else set()
        name = name[:MAX_KEY]
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _unresolved(self, reference: str, at: str, reason: str, remedy: str) -> SchemaError:
        """Return the error of a reference that leads nowhere; `at` is its pointer in the whole."""
        word = at.rpartition("/")[2]
        return self.placed(
            SchemaError(f"schema at {at}: {quoted(reference)}: {reason}", pointer=at, keyword=word, remedy=remedy)
        )

    def located_parts(self) -> Iterator[Part]:
        """Yield each subschema with the document in which it lies."""
        for here in self.all_of_it():
            if id(here) in self.places:
                yield (*self._within(self.places[id(here)].pointer), here)

    def placed(self, error: SchemaError) -> SchemaError:
        """Return the error with its place in the document in which it lies: nobody has the whole before their eyes."""
        uri, pointer = self._within(error.pointer)
        if not uri:
            return error
        return type(error)(
            f"schema at {pointer[:SHOWN] or '/'} of the document {quoted(uri)}: {error.complaint}",
            pointer=pointer,
            keyword=error.keyword,
            remedy=error.remedy,
        )

    def _within(self, pointer: str) -> tuple[str, str]:
        """Return the document in which a place of the whole lies, "" for the schema itself, and its pointer there."""
        _, container, key, *rest = (*pointer.split("/", 3), "", "", "")[:4]
        uri = self._uris.get(key, "") if container == self.container else ""
        return (uri, f"/{rest[0]}" if rest[0] else "") if uri else ("", pointer)


def base_of(schema: dict[str, Any]) -> str:
    """Return the URI that references in `schema` are relative to; "" for none. Raises `SchemaError`."""
    draft = draft_of(schema)
    named = schema.get("id" if draft.name == "draft 4" else "$id")
    alone = draft.reference_alone and "$ref" in schema
    return named.partition("#")[0] if isinstance(named, str) and not alone else ""
