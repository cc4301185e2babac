"""Schemas that refer to other documents: bundled to one that means the same, or refused by the place of the reference."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.errors import InputError, InvalidOutput, SchemaError
from headrace.schema import bundle, lower

Schema = dict[str, Any]
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
INTEGER: Schema = {"type": "integer"}


def takes(schema: Schema, value: Any) -> bool:
    try:
        lower(schema).validate(value)
    except InvalidOutput:
        return False
    return True


def of(reference: str, **words: Any) -> Schema:
    return {"type": "object", "properties": {"a": {"$ref": reference}}, **words}


WAYS: dict[str, tuple[Schema, dict[str, Any]]] = {
    "a relative name": (of("n.json"), {"n.json": INTEGER}),
    "with dots": (of("./x/../n.json"), {"n.json": INTEGER}),
    "from a folder": (of("x/m.json"), {"x/m.json": {"$ref": "../n.json"}, "n.json": INTEGER}),
    "an empty fragment": (of("n.json#"), {"n.json": INTEGER}),
    "a name with an empty fragment": (of("http://x.y/n"), {"http://x.y/n#": INTEGER}),
    "relative to the `$id`": (of("/n.json", **{"$id": "http://x.y/s/t"}), {"http://x.y/n.json": INTEGER}),
    "named relative to the `$id`": (of("http://x.y/s/n.json", **{"$id": "http://x.y/s/t"}), {"n.json": INTEGER}),
    "by the `$id` of a document": (of("http://x.y/n"), {"n.json": {"$id": "http://x.y/n", **INTEGER}}),
    "by an `$id` inside of one": (of("http://x.y/n"), {"m": {"$defs": {"n": {"$id": "http://x.y/n", **INTEGER}}}}),
    "another `$id` than its name": (of("n"), {"n": {"$id": "urn:n", "$defs": {"i": INTEGER}, "$ref": "#/$defs/i"}}),
    "beside an `$id`": (of("n"), {"n": {"$id": "http://x.y/n", "$ref": "m"}, "http://x.y/m": INTEGER}),
    "an anchor": (of("n#i"), {"n": {"$defs": {"j": {"$anchor": "i", **INTEGER}}}}),
    "anchors of one name": (
        of("n#i"),
        {"n": {"$defs": {"j": {"$anchor": "i", "$ref": "m#i"}}}, "m": {"$defs": {"k": {"$anchor": "i", **INTEGER}}}},
    ),
    "a pointer that is percent-encoded": (of("n#/$defs/a%20~1%7E0%25"), {"n": {"$defs": {"a /~%": INTEGER}}}),
    "a pointer to where no schema is known": (of("n#/parts/0"), {"n": {"parts": [{"$ref": "#/i"}], "i": INTEGER}}),
    "a boolean": ({"properties": {"a": {"anyOf": [INTEGER, {"$ref": "n#/$defs/no"}]}}}, {"n": {"$defs": {"no": False}}}),
    "a document that is a boolean": ({"properties": {"a": {"anyOf": [INTEGER, {"$ref": "n"}]}}}, {"n": False}),
    "definitions": (of("n#/definitions/i"), {"n": {"definitions": {"i": INTEGER}}}),
    "definitions of draft 7": (of("n#/definitions/i", **{"$schema": DRAFT_7}), {"n": {"definitions": {"i": INTEGER}}}),
    "draft 7, said by the document": (
        of("n"), {"n": {"$schema": DRAFT_7, "$ref": "#/definitions/i", "definitions": {"i": INTEGER}}}),
    "2020-12, said by both": (of("n", **{"$schema": DRAFT_2020}), {"n": {"$schema": DRAFT_2020, **INTEGER}}),
    "a definition of the document's name": (of("n", **{"$defs": {"n": {"type": "null"}}}), {"n": INTEGER}),
    "a chain": (of("d0"), {**{f"d{n}": {"$ref": f"d{n + 1}"} for n in range(200)}, "d200": INTEGER}),
    "a document under two names": (
        of("n", properties={"a": {"allOf": [{"$ref": "n"}, {"$ref": "m"}]}}),
        {"n": {"$id": "http://x.y/n", **INTEGER}, "m": {"$id": "http://x.y/n", **INTEGER}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_reference_leads_into_a_document(way: str) -> None:
    schema, documents = WAYS[way]
    before = json.dumps([schema, documents])
    whole = bundle(schema, documents)
    assert json.dumps([schema, documents]) == before
    assert takes(whole, {"a": 1})
    assert not takes(whole, {"a": "x"})


def test_a_schema_that_refers_to_no_document_is_returned_as_it_is() -> None:
    schema = of("#/$defs/i", **{"$defs": {"i": INTEGER}, "$id": "http://x.y/n"})
    assert bundle(schema, {"n.json": {"type": "nonsense"}}) is schema


def test_documents_may_refer_to_each_other() -> None:
    person = {"type": "object", "properties": {"address": {"$ref": "address.json"}}, "additionalProperties": False}
    address = {"type": "object", "properties": {"tenants": {"type": "array", "items": {"$ref": "person.json"}}}}
    whole = bundle({"$ref": "person.json"}, {"person.json": person, "address.json": address})
    assert takes(whole, {"address": {"tenants": [{"address": {}}]}})
    assert not takes(whole, {"address": {"tenants": [{"name": "Ada"}]}})


def test_leaves_references_within_enums_alone() -> None:
    whole = bundle({"properties": {"a": {"enum": [{"$ref": "n", "$id": "m"}]}, "b": {"$ref": "n"}}}, {"n": INTEGER})
    assert takes(whole, {"a": {"$ref": "n", "$id": "m"}})


def test_a_dynamic_reference_in_a_document_leads_back_to_the_schema() -> None:
    tree = {"$id": "http://x.y/tree", "$dynamicAnchor": "node", "type": "object",
            "properties": {"children": {"type": "array", "items": {"$dynamicRef": "#node"}}}}  # fmt: skip
    strict = {"$id": "http://x.y/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": False}
    whole = bundle(strict, {"http://x.y/tree": tree})
    assert takes(whole, {"children": [{"children": []}]})
    assert not takes(whole, {"children": [{"other": 1}]})


REFUSED: dict[str, tuple[Schema, dict[str, Any], str, str]] = {
    "not given": (of("n.json"), {}, "/properties/a/$ref", "give it: bundle(schema, {'n.json': …})"),
    "not given, of a document": (
        of("n"), {"n": {"items": {"$ref": "http://x.y/m"}}}, "/items/$ref", "of the document 'n': 'http://x.y/m'"),
    "nowhere in it": (of("n#/$defs/i"), {"n": {}}, "/properties/a/$ref", "leads nowhere"),
    "no anchor in it": (of("n#i"), {"n": {}}, "/properties/a/$ref", "leads nowhere"),
    "a circle": ({"$ref": "n"}, {"n": {"$ref": "m"}, "m": {"$ref": "n"}}, "", "without getting anywhere"),
    "one `$id` twice": (
        of("n", properties={"a": {"allOf": [{"$ref": "n"}, {"$ref": "m"}]}}),
        {"n": {"$id": "http://x.y/n"}, "m": {"$id": "http://x.y/n", **INTEGER}}, "/", "has the name 'http://x.y/n'"),
    "another draft": (
        of("n", **{"$schema": DRAFT_2020}), {"n": {"$schema": DRAFT_7}}, "/$schema", "'n': it is draft 7, the schema"),
    "an unknown draft": (of("n"), {"n": {"$schema": "http://x.y"}}, "/$schema", "document 'n': schema at /$schema"),
    "two drafts": (
        of("n"), {"n": {"$schema": DRAFT_7, "items": {"$ref": "m"}}, "m": {"$schema": DRAFT_2020}}, "/$schema", "'m'"),
    "no schema": (of("n"), {"n": [INTEGER]}, "/properties/a/$ref", "of type list"),
    "definitions that are none": (of("n", **{"$defs": []}), {"n": {}}, "/$defs", "no map of definitions"),
    "no JSON": (of("n"), {"n": {"enum": [{1, 2}]}}, "/enum/0", "document 'n'"),
    "too much text": (of("n"), {"n": {"description": "x" * (1 << 20)}}, "", "document 'n': schema at /: too much text"),
    "too much together": (
        of("n", items={"$ref": "m"}), {name: {"description": "x" * 600_000} for name in "nm"}, "", "too much text"),
    "too much to read": (
        {"allOf": [{"$ref": f"d{n}"} for n in range(9)]},
        {f"d{n}": {"description": "x" * 900_000} for n in range(9)}, "", "more than 4 MiB together"),
    "no URI": (of("http://[n", **{"$id": "http://x.y/"}), {}, "/properties/a/$ref", "'http://[n'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_document_that_is_not_there_is_told_by_the_reference(name: str) -> None:
    schema, documents, pointer, words = REFUSED[name]
    with pytest.raises(SchemaError) as refused:
        bundle(schema, documents)
    assert words in str(refused.value)
    assert pointer in refused.value.pointer


def test_a_document_that_contains_itself_is_refused() -> None:
    endless: Schema = {}
    endless["items"] = endless
    with pytest.raises(SchemaError, match="nested too deep"):
        bundle(of("n"), {"n": endless})
    with pytest.raises(SchemaError, match="no document of that name"):
        bundle(of("m"), {"n": endless})


@pytest.mark.parametrize("documents", [["n"], {1: {}}, {"n#/a": {}}, {"n": {}, "./n": INTEGER}])
def test_documents_have_names(documents: Any) -> None:
    with pytest.raises(InputError, match="documents"):
        bundle(of("n"), documents)


def test_a_reference_that_is_no_uri_is_refused_by_its_place() -> None:
    with pytest.raises(SchemaError, match="leads out of the schema"):
        lower(of("http://[n", **{"$id": "http://x.y/"}))


def test_a_thousand_documents_are_one_schema() -> None:
    documents = {f"d{n}.json": {"type": "object", "properties": {"a": {"$ref": f"d{n + 1}.json"}}} for n in range(1000)}
    whole = bundle({"$ref": "d0.json"}, {**documents, "d1000.json": INTEGER})
    assert len(whole["$defs"]) == 1001
    assert "d0.json" not in json.dumps(list(whole["$defs"].values()))


LEAVES = st.sampled_from(
    [{"type": "integer"}, {"type": "string"}, {"minimum": 3}, {"maxLength": 2}, {}, {"const": None}]
)
NAMES = ["a.json", "sub/b.json", "sub/c.json"]
IDS = [None, "http://other.example/x/", "http://root.example/named.json"]
TARGETS = [f"{up}{name}{part}" for up in ("", "/", "http://root.example/") for name in NAMES
           for part in ("", "#", "#/$defs/d", "#here", "#/$defs/e%20f")]  # fmt: skip


@st.composite
def documents_of(draw: Any) -> tuple[Schema, dict[str, Schema]]:
    """A schema and documents by absolute URIs; what they refer to may not be there."""
    references = st.builds(lambda target: {"$ref": target}, st.sampled_from([*TARGETS, "#/$defs/d", "#here"]))
    inside = st.one_of(
        LEAVES,
        references,
        st.builds(lambda inner: {"properties": {"p": inner}}, references),
        st.builds(lambda inner: {"items": inner}, references),
        st.builds(lambda one, other: {"anyOf": [one, other]}, references, LEAVES),
    )

    def document(identifier: str | None) -> Schema:
        named = {"$id": identifier} if identifier else {}
        parts = {"d": draw(inside), "e f": draw(LEAVES), "g": {"$anchor": "here", **draw(LEAVES)}}
        return {**named, "$schema": DRAFT_2020, "$defs": parts, **draw(inside)}

    found = {f"http://root.example/{name}": document(draw(st.sampled_from(IDS)) if number == 0 else None)
             for number, name in enumerate(NAMES)}  # fmt: skip
    return document("http://root.example/root.json"), found


VALUES: list[Any] = [None, 1, 5, "x", "xyz", {"p": 1}, {"p": "x"}, {"p": {"p": None}}, [1], ["x"], [[None]], {}, []]


@settings(max_examples=200, deadline=None)
@given(documents_of())
def test_bundled_schemas_accept_what_the_validator_with_a_retriever_accepts(
    drawn: tuple[Schema, dict[str, Schema]],
) -> None:
    schema, documents = drawn
    try:
        reference = jsonschema_rs.Draft202012Validator(schema, retriever=lambda uri: documents[uri])
    except (jsonschema_rs.ReferencingError, ValueError, KeyError):
        reference = None  # a document that is not there
    try:
        whole = bundle(schema, documents)
    except SchemaError as error:
        assume("getting anywhere" not in str(error))  # a circle: the validator takes it as saying nothing
        assert reference is None
        return
    assert reference is not None
    bundled = jsonschema_rs.Draft202012Validator(whole, offline=True)
    assert [bundled.is_valid(value) for value in VALUES] == [reference.is_valid(value) for value in VALUES]
