"""Answers as typed XML (statements 76 to 79): what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, answer, ask, failure_of, model_of, structured_call

from headrace.errors import CallError

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)


class P(msgspec.Struct):
    a: int


def xml(form: str, content: str, **words: Any) -> Any:
    response, body = structured_call(form, answer(content), typed_parser="typed_xml", **words)
    assert response.response_type == "structured"
    assert "response_format" not in body
    return response.data


def test_c076_xml_with_two_top_level_tags(form: str) -> None:
    assert xml(form, '<name>n</name><tags dtype="list"><t>a</t></tags>') == {"name": "n", "tags": ["a"]}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("<a></a>", {"a": ""}),
        ('<a dtype="bool"> True </a>', {"a": True}),
        ("<a>Tom & Jerry</a>", {"a": "Tom & Jerry"}),
        ("hello", None),
        ("<a><b>x</b></a>", {"b": "x"}),
        ('<a dtype="int">5.0</a>', {"a": 5}),
        ('<a dtype="float">nan</a>', None),
        ('<a dtype="int"></a>', None),
        ('<a dtype="wat">x</a>', None),
        ('<a dtype="dict"><b>1</b><b>2</b></a>', {"b": ["1", "2"]}),
        ('<?xml version="1.0"?><a>x</a>', {"a": "x"}),
        ("<a>x", None),
        ('<!DOCTYPE r [<!ENTITY e "x">]><a>&e;</a>', None),
    ],
)
def test_c077_decodes_or_refuses_xml(form: str, content: str, value: Any) -> None:
    if value is None:
        error = failure_of(form, answer(content), typed_parser="typed_xml")
        assert (error.code, error.partial) == ("invalid_output", content)
    else:
        assert xml(form, content) == value


def test_c078_xml_may_be_checked_against_a_struct(form: str) -> None:
    assert xml(form, "<b>1</b>", generation_schema=P) == {"b": "1"}
    checking = model_of("openai", FakeTransport(answer("<b>1</b>")), retry=False, validate_typed_parser_output=True)
    with pytest.raises(CallError) as raised:
        ask(checking, form, generation_schema=P, typed_parser="typed_xml")
    assert raised.value.code == "invalid_output"
    checking = model_of("openai", FakeTransport(answer('<a dtype="int">1</a>')), validate_typed_parser_output=True)
    assert ask(checking, form, generation_schema=P, typed_parser="typed_xml").data == {"a": 1}


def test_c079_xml_that_begins_with_the_prefilling(form: str) -> None:
    assert xml(form, "1</a>", prefilling="<a>") == {"a": "1"}


def test_d040_an_empty_parser_is_none(form: str) -> None:
    response, _ = structured_call(form, answer("x"), typed_parser="")
    assert (response.response_type, response.data) == ("text_generation", "x")
