"""The version of JSON Schema in which a schema and the documents that it refers to are read, all of them in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from headrace.errors import SHOWN, InvalidSchemaError, SchemaError
from headrace.schema.dialects import DRAFT_7, UNNAMED, Dialect, dialect_of, telling_words
from headrace.schema.documents import of_document
from headrace.schema.subschemas import escaped, subschemas
from headrace.text.quoting import quoted

BESIDE_REFERENCE = frozenset(
    {"$ref", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
     "definitions"}
)  # fmt: skip
"""What constrains nothing beside a `$ref`."""


def common_dialect(root: dict[str, Any], documents: Mapping[str, dict[str, Any]]) -> Dialect:
    """Return the common dialect: the schema's, else the documents', else the one that their keywords tell. Raises `SchemaError`
    where they differ."""
    own = dialect_of(root) if isinstance(root.get("$schema"), str) else None
    named: dict[str, Dialect] = {}
    old = new = ""
    for uri, document in (("", root), *documents.items()):
        try:
            dialect = dialect_of(document)
        except SchemaError as error:
            raise of_document(error, uri) from None
        if not isinstance(document.get("$schema"), str):
            subject = f"the document {quoted(uri)}" if uri else "the schema"
            if dialect is DRAFT_7:
                old = old or subject
            elif tells_2020(document):
                new = new or subject
            continue
        if not uri:
            continue
        named[dialect.name] = dialect
        wanted = own.name if own else next(iter(named))
        if dialect.name != wanted:
            raise SchemaError(
                f"schema at /$schema of the document {quoted(uri)}: it is {dialect.name}, what refers to it {wanted}",
                pointer="/$schema",
                keyword="$schema",
                remedy="write both in one version",
            )
    if own is not None:
        return own
    if named:
        only = next(iter(named.values()))
        return UNNAMED if only.name == UNNAMED.name else only
    if old and new:
        raise SchemaError(
            f"schema at /$schema: {old} has words that only draft 7 has, {new} such that it has not",
            pointer="/$schema",
            keyword="$schema",
            remedy="name the version in `$schema`, and write all of them in it",
        )
    return DRAFT_7 if old else UNNAMED


def tells_2020(schema: dict[str, Any]) -> bool:
    """Return whether a schema without `$schema` means something else if it is read as draft 7: by a word that this has not, or a
    constraint beside a `$ref`."""
    if "$defs" in schema or telling_words(schema)[1]:
        return True
    waiting: list[Any] = [schema]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            if isinstance(here.get("$ref"), str) and not here.keys() <= BESIDE_REFERENCE:
                return True
            waiting += [inner for _, inner in subschemas(here)]
    return False


def check_words(document: dict[str, Any], dialect: Dialect, uri: str) -> None:
    """Raises `SchemaError` for a document that is no schema in that version."""
    try:
        jsonschema_rs.meta.validate({**document, "$schema": dialect.uri})
    except jsonschema_rs.ValidationError as error:
        path = [str(step) for step in error.instance_path]
        pointer = "".join(f"/{escaped(step)}" for step in path)
        raise InvalidSchemaError(
            f"schema at {pointer[:SHOWN] or '/'} of the document {quoted(uri)}: {error.message[:SHOWN]}; read as {dialect.name}",
            pointer=pointer,
            keyword=path[-1] if path else "",
            remedy="see JSON Schema for what may stand there, or name another version in `$schema`",
        ) from None


def with_dialect(schema: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return `schema`, which names no version, as one that is read as `dialect`."""
    return {**schema, "$defs": schema.get("$defs", {})} if dialect is UNNAMED else {"$schema": dialect.uri, **schema}
