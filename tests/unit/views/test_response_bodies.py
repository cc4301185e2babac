"""A Responses body as a job: what is wrong is named with its place in that body, not in the chat's that is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from headrace_api.errors import api_error
from headrace_api.requests.responses import read_response_request

from headrace.errors import InputError

FUNCTION = {"type": "function", "name": "f"}
FORMAT = {"type": "json_schema", "name": "n"}


def read(**body: Any) -> Any:
    return read_response_request({"model": "openai/gpt", "input": "x"} | body, earlier=[], known={}, ttl_s=100.0)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"text": {"format": FORMAT | {"schema": {"type": "nonsense"}}}}, "text.format.schema.type", "invalid_request"),
        ({"tools": [FUNCTION | {"parameters": {"type": "dict"}}]}, "tools[0].parameters.type", "invalid_request"),
        ({"tools": [FUNCTION | {"name": "f x"}]}, "tools[0].name", "invalid_request"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools", "invalid_request"),
        ({"tools": [{"type": "mcp"}]}, "tools[0].type", "invalid_request"),
        ({"model": "nobody"}, "model", "model_not_found"),
        ({"headrace": {"ttl_s": 3}}, "headrace", "invalid_request"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_request"),
        ({"reasoning": {"foo": 1}}, "reasoning.foo", "unknown_parameter"),
        ({"api_key": "x"}, "api_key", "unknown_parameter"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "invalid_request",
        ),
    ],
)
def test_a_place_is_one_of_the_body(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read(**body)
    error = api_error(caught.value)
    assert (error.param, error.code, error.status) == (param, code, 404 if code == "model_not_found" else 400)


def test_only_what_may_be_read_as_it_comes_is_streamed() -> None:
    plain, streamed, background = read(), read(stream=True), read(background=True)
    assert (plain.job.stream, plain.job.on_retry, plain.own["ttl_s"]) == (False, "fail", 3600)
    for asked in (streamed, background):
        assert (asked.job.stream, asked.job.on_retry, asked.own["ttl_s"]) == (True, "reset", 100)
    assert read(stream=True, store=False).own["ttl_s"] == 3600


def test_what_is_headraces_alone_stays_here() -> None:
    options = read(metadata={"a": "b"}, store=True, truncation="auto", max_tool_calls=3).job.options
    assert options.metadata is None
    assert options.store is None
    assert options.extra_body is None
