"""The strict judge of OpenAI's shapes refuses what the official package reads without a word."""

import copy
from typing import Any, Union

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent
from openai_types import check

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "openai/m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
EVENT = {
    "type": "response.output_text.delta",
    "sequence_number": 4,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "a",
    "logprobs": [],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(COMPLETION)
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    node: Any = body
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return body


def test_what_fits_is_returned_as_the_type() -> None:
    assert check(ChatCompletion, COMPLETION).choices[0].message.tool_calls[1].custom.input == "x"
    assert isinstance(check(ResponseStreamEvent, EVENT), ResponseTextDeltaEvent)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("extra", 1, "/extra: is no field of ChatCompletion"),
        ("choices.0.message.reasoning_content", "r", "/choices/0/message/reasoning_content: is no field"),
        ("choices.0.message.tool_calls.1.custom.arguments", "", "/choices/0/message/tool_calls/1/custom/arguments"),
        ("choices.0.finish_reason", "eos", "/choices/0/finish_reason: 'eos' is none of"),
        ("choices.0.index", True, "/choices/0/index: True is no int"),
        ("usage.total_tokens", ..., "/usage/total_tokens: is missing in CompletionUsage"),
        ("usage", [], "/usage: [] is no object"),
        ("model", None, "/model: None is no str"),
        ("choices", None, "/choices: None is no list"),
    ],
)
def test_a_field_too_many_a_missing_one_and_another_type_are_told_by_their_place(
    path: str, value: Any, place: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        check(ChatCompletion, changed(path, value))
    assert place in str(caught.value)


def test_named_fields_are_allowed_wherever_they_stand() -> None:
    body = changed("choices.0.message.reasoning_content", "r")
    assert check(ChatCompletion, body, frozenset({"reasoning_content"}))


def test_of_a_union_the_member_that_fits_best_is_told() -> None:
    with pytest.raises(AssertionError, match="/other: is no field of ResponseTextDeltaEvent"):
        check(ResponseStreamEvent, EVENT | {"other": 1})
    with pytest.raises(AssertionError, match="/choices/0/delta: is missing in Choice"):
        check(Union[ChatCompletion, ChatCompletionChunk], {**chunk(), "choices": [{"index": 0, "finish_reason": None}]})  # noqa: UP007


def chunk() -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
