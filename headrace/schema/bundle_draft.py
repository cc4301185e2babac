"""The version of JSON Schema in which a schema and the documents that it refers to are read, all of them in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema_rs

from headrace.errors import SHOWN, InvalidSchemaError, SchemaError
from headrace.schema.documents import of_document
from headrace.schema.drafts import SINCE_2020, UNNAMED, UNNAMED_2019, Draft, draft_of, ignored_word
from headrace.schema.subschemas import escaped
from headrace.text.quoting import quoted


def common_draft(root: dict[str, Any], documents: Mapping[str, dict[str, Any]], parts: Iterable[Part]) -> Draft:
    """Return the draft in which a schema and its documents are read: the one that some of them name, else the one that the
    keywords tell of all their `parts` together.

    Raises `SchemaError` where two are named, or where a keyword would be ignored that is in a document which names none.
    """
    named = {uri: draft_named(each, uri) for uri, each in (("", root), *documents.items()) if is_named(each)}
    if not named:
        return told_by(parts)
    by, draft = next(iter(named.items()))
    for uri, other in named.items():
        if other.name != draft.name:
            raise SchemaError(
                f"schema at /$schema of the document {quoted(uri)}: it is {other.name}, {subject(by)} {draft.name}",
                pointer="/$schema",
                keyword="$schema",
                remedy="write both in one version",
            )
    for uri, pointer, here in parts:
        word = "" if uri in named else ignored_word(here, draft)
        if word:
            raise SchemaError(
                f"schema at {pointer}/{word}{of(uri)}: {subject(by)} names {draft.name}, in which `{word}` counts for nothing"
                f"{' beside a `$ref`' if '$ref' in here else ''}",
                pointer=f"{pointer}/{word}",
                keyword=word,
                remedy="name a version in each `$schema`, and write all of them in one",
            )
    return UNNAMED if draft.name == UNNAMED.name and "" not in named else draft


Part = tuple[str, str, dict[str, Any]]
"""A subschema: the document in which it lies ("" for the schema itself), its pointer there, and itself."""


def told_by(parts: Iterable[Part]) -> Draft:
    lists = tuples = None
    for uri, pointer, here in parts:
        if isinstance(here.get("items"), list):
            lists = lists or (uri, pointer)
        found = next((word for word in SINCE_2020 if word in here), "")
        if found:
            tuples = tuples or (uri, pointer, found)
    if lists and tuples:
        uri, pointer = lists
        raise SchemaError(
            f"schema at {pointer}/items{of(uri)}: 2020-12 has no list there, and no version before it has the `{tuples[2]}` of "
            f"{subject(tuples[0])}",
            pointer=f"{pointer}/items",
            keyword="items",
            remedy="name the version in `$schema`, or write `prefixItems` for the list",
        )
    return UNNAMED_2019 if lists else UNNAMED


def is_named(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("$schema"), str)


def draft_named(schema: dict[str, Any], uri: str) -> Draft:
    try:
        return draft_of(schema)
    except SchemaError as error:
        raise of_document(error, uri) from None


def subject(uri: str) -> str:
    return f"the document {quoted(uri)}" if uri else "the schema"


def of(uri: str) -> str:
    return f" of the document {quoted(uri)}" if uri else ""


def check_words(document: dict[str, Any], draft: Draft, uri: str) -> None:
    """Raise `SchemaError` for a document that is no schema in that version."""
    try:
        jsonschema_rs.meta.validate({**document, "$schema": draft.uri})
    except jsonschema_rs.ValidationError as error:
        path = [str(step) for step in error.instance_path]
        pointer = "".join(f"/{escaped(step)}" for step in path)
        raise InvalidSchemaError(
            f"schema at {pointer[:SHOWN] or '/'} of the document {quoted(uri)}: {error.message[:SHOWN]}; read as {draft.name}",
            pointer=pointer,
            keyword=path[-1] if path else "",
            remedy="see JSON Schema for what may stand there, or name another version in `$schema`",
        ) from None
