"""The documents that a schema refers to: their sources and their names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol

import msgspec

from headrace.errors import InputError, SchemaError
from headrace.schema.document import MAX_URI, joined
from headrace.schema.drafts import Draft
from headrace.schema.size import MAX_DEPTH
from headrace.schema.subschemas import subschemas
from headrace.text.quoting import quoted

MAX_INDEXED = 200_000
"""Maximal number of subschemas, in all documents, that are searched for the `$id` of a reference."""


class Unavailable(Exception):
    """There is no document of that name, or it cannot be read: with the reason and the remedy."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class Documents(Protocol):
    """Schemas by name. `own` is the name of the schema that refers to them, "" for none but its `$id`."""

    own: str

    def document(self, uri: str) -> tuple[str, Any]:
        """Return the document that is, or contains, the schema of `uri`, and the URI that the document was found under.
        Raises `Unavailable`."""
        ...


class DocumentMapping:
    """Documents in a mapping. Names are URIs, relative ones to `base`. Raises `InputError` for what is no such mapping."""

    own = ""

    def __init__(self, documents: Mapping[str, Any], base: str):
        if not isinstance(documents, Mapping):
            raise InputError(f"documents={quoted(documents)}: give a map of names and schemas")
        self._documents: dict[str, Any] = {}
        for name, document in documents.items():
            if not isinstance(name, str):
                raise InputError(f"documents: {quoted(name)}: a document's name is a URI, as a text")
            uri, _, fragment = joined(base, name).partition("#")
            uri = normalized(uri)
            if fragment:
                raise InputError(f"documents: {quoted(name)}: a document's name has nothing after the `#`")
            if len(uri) > MAX_URI:
                raise InputError(f"documents: {quoted(name)}: a document's name has at most {MAX_URI} characters")
            if uri in self._documents and not is_same(self._documents[uri], document):
                raise InputError(f"documents: two of them have the name {quoted(uri)}")
            self._documents[uri] = document

    def document(self, uri: str) -> tuple[str, Any]:
        name = uri if uri in self._documents else self._by_identifier.get(uri)
        if name is None:
            raise Unavailable(
                "no document of that name was given, and nothing is fetched",
                f"give it: bundle(schema, {{{quoted(uri)}: …}})",
            )
        return name, self._documents[name]

    @cached_property
    def _by_identifier(self) -> dict[str, str]:
        """Index of the documents by the `$id`s in them. In which version they are read is not known yet: what is an `$id` in some
        versions only (draft 4's `id`, and one beside a `$ref`) counts where no other document has it."""
        found: dict[str, str] = {}
        unsure: dict[str, str] = {}
        for name, uri, _, schema in identifiers(self._documents):
            (unsure if "$ref" in schema or "$id" not in schema else found).setdefault(uri, name)
        return unsure | found


def identifiers(documents: Mapping[str, Any], draft: Draft | None = None) -> Iterator[tuple[str, str, str, Any]]:
    """Yield each `$id` in the first `MAX_INDEXED` subschemas of the documents: the name of the document, the URI, the JSON
    Pointer of its schema, and the schema. Levels beyond the maximal depth are skipped: a document may contain itself."""
    waiting = [(name, document, "", name, 0) for name, document in documents.items()]
    for _ in range(MAX_INDEXED):
        if not waiting:
            return
        name, here, at, base, depth = waiting.pop()
        if not isinstance(here, dict) or depth > MAX_DEPTH:
            continue
        named = here.get("$id", here.get("id") if draft is None or draft.name == "draft 4" else None)
        if (
            isinstance(named, str)
            and len(named) <= MAX_URI
            and not (draft and draft.reference_alone and "$ref" in here)
        ):
            base, _, fragment = joined(base, named).partition("#")
            if not fragment:
                yield name, base, at or "/", here
        waiting.extend((name, inner, f"{at}/{step}", base, depth + 1) for step, inner in subschemas(here))


def normalized(uri: str) -> str:
    """Return a URI without `.` and `..` in its path, as far as that can be said (RFC 3986, 5.2.4)."""
    rest, mark, query = uri.partition("?")
    scheme, host, path = "", "", rest
    if ":" in rest.partition("/")[0] or rest.startswith("//"):
        scheme, slashes, rest = rest.partition("//")
        host, slash, path = rest.partition("/")
        scheme, path = scheme + slashes, slash + path
        if not slashes:  # a URN has no path
            return uri
    if not path:
        return uri
    folder = "/" if path.endswith(("/", "/.", "/..")) and path.strip("/") else ""
    return scheme + host + posixpath.normpath(path) + folder + mark + query


def is_same(one: Any, other: Any) -> bool:
    """Return True if two schemas are the same JSON: to Python 1, 1.0 and true are equal."""
    if one is other:
        return True
    try:
        return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    except (TypeError, ValueError, RecursionError):  # what cannot be written is refused by whoever takes it
        return False


def of_document(error: SchemaError, uri: str) -> SchemaError:
    if not uri:
        return error
    message = str(error).removesuffix(f"; {error.remedy}")
    return SchemaError(
        f"document {quoted(uri)}: {message}", pointer=error.pointer, keyword=error.keyword, remedy=error.remedy
    )
