"""OpenAI's body as a job: every field has one place, and what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

import pytest
from headrace_api.requests.chat_completions import read_chat_request, read_object
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InputError

BASE: dict[str, Any] = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def test_every_field_has_its_place() -> None:
    asked = read_chat_request(
        BASE
        | {"temperature": 0, "max_completion_tokens": 5, "top_k": 3, "metadata": {"a": "b"}, "stop": ["x"], "n": 1}
        | {
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": False,
        }
        | {"stream": True, "stream_options": {"include_usage": True}, "headrace": {"ttl_s": 60, "on_retry": "reset"}}
    )
    options = asked.job.options
    assert (options.temperature, options.max_tokens, options.stop, options.parallel_tool_calls) == (0, 5, ["x"], False)
    assert (options.metadata, options.extra_body) == ({"a": "b"}, {"top_k": 3})
    assert asked.job.tools == [TOOL]
    assert asked.job.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert (asked.stream, asked.include_usage, asked.job.stream, asked.job.on_retry) == (True, True, True, "reset")
    assert asked.own["ttl_s"] == 60


def test_formats() -> None:
    asked = read_chat_request(
        BASE | {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}
    )
    assert (asked.job.schema, asked.job.schema_name, asked.job.response_format) == (SCHEMA, "n", None)
    assert read_chat_request(BASE | {"response_format": {"type": "json_object"}}).job.response_format == {
        "type": "json_object"
    }
    assert read_chat_request(BASE | {"response_format": {"type": "text"}}).job.response_format is None


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"messages": []}, "/messages"),
        ({"messages": [{"role": "user"}]}, "/messages/0/content"),
        ({"model": None}, "model"),
        ({"n": 9}, "n="),
        ({"stream": "yes"}, "stream="),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "xml"}}, "/response_format/type"),
        ({"response_format": 3}, "/response_format/type"),
        ({"response_format": {"type": "json_schema"}}, "/response_format/json_schema/schema"),
        ({"tools": {}}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "/choice"),
        ({"headrace": {"nope": 1}}, "/headrace"),
        ({"headrace": {"on_retry": "maybe"}}, "on_retry"),
        ({"extra_headers": {}}, "extra_headers"),
    ],
)
def test_names_the_place_of_an_invalid_body(more: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=place):
        read_chat_request(BASE | more)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*BASE, "tools", "tool_choice", "response_format", "stop", "headrace", "n"]), JSON)
)
def test_any_body_is_a_job_or_refused(body: dict[str, Any]) -> None:
    try:
        read_chat_request(body)
    except InputError:
        return


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(read_object(raw), dict)
    except InputError:
        return
