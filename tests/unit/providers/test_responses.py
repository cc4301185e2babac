"""What comes back: kinds of responses, reasoning, metadata, failures (statements 87 to 106)."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from fake_transport import FORMS, FakeTransport, T, answer, ask, body_of, call_of, model_of
from headrace_providers.response import Response

from headrace.chat.tool_calls import ToolCalls
from headrace.chat.tools import ToolDefinitions
from headrace.errors import CallError, InputError

pytestmark = pytest.mark.parametrize("form", FORMS)
NAMED = {"type": "function", "function": {"name": "f"}}


def asked(
    form: str, *script: Any, provider: str = "openai", call: dict[str, Any] | None = None, **words: Any
) -> Response:
    return ask(model_of(provider, FakeTransport(*script), retry=False, **words), form, **(call or {}))


@pytest.mark.parametrize("provider", ["openai", "vllm"])
@pytest.mark.parametrize(
    ("choice", "sent"),
    [(None, None), ("auto", "auto"), ("required", "required"), ("none", "none"), ("f", NAMED), (NAMED, NAMED)],
)
def test_c087_a_choice_on_the_wire(form: str, provider: str, choice: Any, sent: Any) -> None:
    body = body_of(provider, form, call={"tool_definitions": ToolDefinitions(schemas=[T], choice=choice)})
    assert body["tools"] == [T]
    assert body.get("tool_choice") == sent


def test_c088_a_choice_without_tools(form: str) -> None:
    body = body_of("openai", form, call={"tool_definitions": ToolDefinitions(choice="required")})
    assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@pytest.mark.parametrize("parallel", [True, False])
def test_c089_parallel_calls_only_beside_tools(form: str, parallel: bool) -> None:
    tools = {"tool_definitions": ToolDefinitions(schemas=[T])}
    assert body_of("openai", form, parallel_tool_calls=parallel, call=tools)["parallel_tool_calls"] is parallel
    assert "parallel_tool_calls" not in body_of("openai", form, parallel_tool_calls=parallel)


def test_c090_a_choice_that_is_no_tool(form: str) -> None:
    with pytest.raises(InputError, match="nope"):
        body_of("openai", form, call={"tool_definitions": ToolDefinitions(schemas=[T], choice="nope")})


def test_c091_blank_arguments_are_none(form: str) -> None:
    calls = [call_of("f", '{"a":1}', "one"), call_of("f", "  ", "two")]
    response = asked(form, answer(None, finish="tool_calls", tool_calls=calls))
    assert response.response_type == "tool_call"
    assert [call.arguments for call in response.data.get_calls()] == [{"a": 1}, {}]


def test_c092_arguments_that_are_not_json_spoil_one_call(form: str) -> None:
    calls = [call_of("f", '{"x":', "one"), call_of("f", "{}", "two")]
    first, second = asked(form, answer(None, finish="tool_calls", tool_calls=calls)).data.get_calls()
    assert first.error
    assert (first.raw, second.error, second.arguments) == ('{"x":', None, {})


def test_c093_a_missing_result_is_answered(form: str) -> None:
    calls = asked(form, answer(None, finish="tool_calls", tool_calls=[call_of(id="a"), call_of(id="b")])).data
    calls.insert_results({"b": 5})
    assistant, *tools = calls.get_messages()
    assert [call["id"] for call in assistant["tool_calls"]] == ["a", "b"]
    assert [message["tool_call_id"] for message in tools] == ["a", "b"]
    assert tools[1]["content"] == "5"


def test_c094_results_as_text(form: str) -> None:
    calls = asked(form, answer(None, finish="tool_calls", tool_calls=[call_of(id="a"), call_of(id="b")])).data
    calls.insert_results({"a": {"x": 1}, "b": "same"})
    assert [message["content"] for message in calls.get_messages()[1:]] == ['{"x":1}', "same"]


def test_c095_text_beside_calls_is_kept(form: str) -> None:
    response = asked(form, answer("Let me see.", finish="tool_calls", tool_calls=[call_of()]))
    assert response.response_type == "tool_call"
    assert response.data.text == "Let me see."
    assert response.data.get_messages()[0]["content"] == "Let me see."


def test_c096_a_custom_call(form: str) -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    (made,) = asked(form, answer(None, finish="tool_calls", tool_calls=[call])).data.get_calls()
    assert (made.type, made.name, made.raw) == ("custom", "sh", "ls")


def test_d057_a_legacy_function_call(form: str) -> None:
    response = asked(form, answer(None, finish="function_call", function_call={"name": "f", "arguments": "{}"}))
    assert [call.name for call in response.data.get_calls()] == ["f"]


def test_c097_a_plain_answer(form: str) -> None:
    response = asked(form)
    assert (response.response_type, response.consume(), response.reasoning) == ("text_generation", "hi", None)
    assert response.metadata["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert response.metadata["finish_reason"] == response.metadata["stop_reason"] == "stop"
    assert not response.has_reasoning
    assert (response.metadata["id"], response.metadata["model"]) == ("c", "m")


def test_c098_the_providers_own_stop_reason(form: str) -> None:
    script = answer()
    script["choices"][0]["stop_reason"] = "</s>"
    metadata = asked(form, script, provider="vllm").metadata
    assert (metadata["stop_reason"], metadata["finish_reason"]) == ("</s>", "stop")


def test_c099_the_first_reasoning_counts(form: str) -> None:
    script = answer(reasoning_content="A", reasoning="B")
    assert asked(form, script).consume_reasoning() == "A"
    assert asked(form, script, return_reasoning=False).reasoning is None


def test_c100_reasoning_in_history_is_a_switch_of_its_own(form: str) -> None:
    script = answer(None, finish="tool_calls", reasoning="why", tool_calls=[call_of()])
    response = asked(form, script, return_reasoning=False)
    assert response.reasoning is None
    assert response.data.get_messages()[0]["reasoning"] == "why"
    assert "content" not in response.data.get_messages()[0]
    response = asked(form, script, reasoning_in_tool_call=False)
    assert response.reasoning == "why"
    assert "reasoning" not in response.data.get_messages()[0]


@pytest.mark.parametrize(("transcript", "kind"), [("hello", "audio_text_generation"), ("", "audio_generation")])
def test_c101_audio(form: str, transcript: str, kind: str) -> None:
    audio = {"id": "a", "data": base64.b64encode(b"xyz").decode(), "transcript": transcript, "expires_at": 9}
    response = asked(form, answer(None, audio=audio))
    assert response.response_type == kind
    assert (response.data["id"], response.data["audio"], response.data.get("text", "")) == ("a", b"xyz", transcript)
    assert response.data["expires_at"] == 9


def test_d061_audio_beside_text_is_kept(form: str) -> None:
    response = asked(form, answer("said", audio={"id": "a", "data": base64.b64encode(b"x").decode()}))
    assert response.data == "said"
    assert response.metadata["audio"]["id"] == "a"


def test_c102_annotations_and_logprobs(form: str) -> None:
    script = answer(annotations=[{"type": "url_citation", "url_citation": {"url": "u"}}])
    script["choices"][0]["logprobs"] = {"content": [{"token": "hi", "logprob": -0.1}], "refusal": None}
    metadata = asked(form, script).metadata
    assert metadata["annotations"] == [{"type": "url_citation", "url_citation": {"url": "u"}}]
    assert metadata["logprobs"] == {"content": [{"token": "hi", "logprob": -0.1}]}


def test_c103_nothing_said(form: str) -> None:
    response = asked(form, answer(None))
    assert (response.response_type, response.data) == ("text_generation", "")


def test_c104_a_refusal_without_a_schema(form: str) -> None:
    response = asked(form, answer(None, refusal="No."))
    assert (response.response_type, response.data, response.metadata["refusal"]) == ("text_generation", "No.", "No.")


ENDED = answer("half", finish="error")


@pytest.mark.parametrize(
    "script",
    [
        {"error": {"code": 502, "message": "upstream", "metadata": {"error_type": "provider_unavailable"}}},
        ENDED,
        {"id": "c", "choices": [{"index": 0, "error": {"code": 503, "message": "m"}, "message": {}}]},
        {"id": "c", "choices": []},
        {},
    ],
)
def test_c105_an_error_inside_a_200(form: str, script: dict[str, Any]) -> None:
    with pytest.raises(CallError) as raised:
        asked(form, script)
    assert raised.value.code in {"provider_error", "incomplete_stream"}
    assert raised.value.retryable
    if script is ENDED:
        assert raised.value.partial == "half"


def test_c105_an_error_inside_a_200_that_will_stay(form: str) -> None:
    with pytest.raises(CallError) as raised:
        asked(form, {"error": {"code": 402, "message": "no credit"}})
    assert (raised.value.code, raised.value.retryable) == ("payment", False)


DETAILS = [
    {"type": "reasoning.text", "text": "A", "signature": "s", "format": "f", "index": 0},
    {"type": "reasoning.summary", "summary": "B", "index": 1},
    {"type": "reasoning.encrypted", "data": "zzz", "index": 2},
]


def test_c106_reasoning_details_are_untouched(form: str) -> None:
    response = asked(form, answer(reasoning_details=DETAILS), provider="openrouter")
    assert response.metadata["reasoning_details"] == DETAILS
    assert response.reasoning == "AB"


def test_d064_metadata_has_the_providers_further_fields(form: str) -> None:
    script = answer() | {"provider": "Upstream", "service_tier": "flex", "system_fingerprint": "fp"}
    script["choices"][0]["native_finish_reason"] = "end_turn"
    metadata = asked(form, script, provider="openrouter").metadata
    wanted = {
        "provider": "Upstream",
        "service_tier": "flex",
        "system_fingerprint": "fp",
        "native_finish_reason": "end_turn",
    }
    assert metadata.items() >= wanted.items()


HOSTILE = [
    {"choices": 5},
    {"choices": [5]},
    {"choices": [{"message": 5, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "x", "tool_calls": 5}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "x", "tool_calls": [5]}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"audio": {"data": "no base64!"}}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "x"}, "finish_reason": 7}]},
    {"choices": {"a": "b"}},
    {"error": 5},
]


@pytest.mark.parametrize("script", HOSTILE)
def test_an_answer_of_the_wrong_shape_is_a_typed_error(form: str, script: dict[str, Any]) -> None:
    with pytest.raises(CallError) as raised:
        asked(form, script)
    assert raised.value.code == "provider_error"


def test_tool_calls_can_be_stored(form: str) -> None:
    calls = asked(form, answer("t", finish="tool_calls", reasoning="r", tool_calls=[call_of()])).data
    stored = msgspec.json.decode(msgspec.json.encode(calls.to_dict()))
    assert ToolCalls.from_dict(stored).get_messages() == calls.get_messages()
