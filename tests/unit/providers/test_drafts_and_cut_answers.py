"""A success is what the model meant: not a draft, not the start of what was cut, not one of two answers that differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_transport import FakeTransport, answer, ask, model_of, piece
from pydantic import BaseModel, ConfigDict

from headrace.batches.inputs.openai_form import read_body
from headrace.batches.template import Template
from headrace.chat.completion import Completion
from headrace.errors import CallError, InputError
from headrace.jobs.job import Job
from headrace.portal import run

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
DRAFT = 'First I thought of {"a": 5}, which is wrong.'
CALL = {"name": "f", "arguments": '{"x":1}'}
ZERO = {"index": 0, "id": "", "function": {"name": "", "arguments": ""}}


def complete(*script: Any, stream: bool = False, **job: Any) -> Completion:
    model = model_of("vllm", FakeTransport(list(script) if len(script) > 1 else script[0]), retry=False)
    asked = Job(model="vllm/m", messages=[{"role": "user", "content": "x"}], stream=stream, **job)
    return run(model.complete(asked, on_delta=(lambda _: None) if stream else None))


def fails(*script: Any, **job: Any) -> CallError:
    with pytest.raises(CallError) as raised:
        complete(*script, **job)
    return raised.value


@pytest.mark.parametrize("mode", ["prompt", "json_object"])
@pytest.mark.parametrize(
    "text",
    [
        DRAFT + '</think>\n\n{"a":1}',
        f'<think>{DRAFT}</think>{{"a":1}}',
        f'<think>{DRAFT}</think>one more:</think>```json\n{{"a":1}}\n```',
        f'<thinking>{DRAFT}</thinking>\n{{"a":1}}',
        f'[THINK]{DRAFT}[/THINK]{{"a":1}}',
        f'◁think▷{DRAFT}◁/think▷{{"a":1}}',
        f'<seed:think>{DRAFT}</seed:think>{{"a":1}}',
        f'<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{{"a":1}}',
    ],
)
def test_ignores_drafts_in_the_reasoning(mode: str, text: str) -> None:
    assert complete(answer(text), schema=SCHEMA, mode=mode).value == {"a": 1}


@pytest.mark.parametrize("mark", ["<think>", "<thinking>", "[THINK]", "<|channel|>analysis<|message|>"])
def test_a_thought_that_never_ends_is_no_answer(mark: str) -> None:
    error = fails(answer(f"{mark}{DRAFT}"), schema=SCHEMA, mode="prompt")
    assert (error.code, error.partial) == ("invalid_output", f"{mark}{DRAFT}")


def test_a_mark_within_an_answer_is_its_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert complete(answer('{"a": "</think> ends it"}'), schema=schema, mode="prompt").value == {
        "a": "</think> ends it"
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}{"a":2}',
        'Draft: {"a":5}. Correction: {"a":1}',
        '```json\n{"a":5}\n```\nWait, that is wrong.\n```json\n{"a":1}\n```',
    ],
)
def test_answers_that_differ_are_no_answer(text: str) -> None:
    error = fails(answer(text), schema=SCHEMA, mode="prompt")
    assert (error.code, error.message) == ("invalid_output", "the model gave several answers that differ")
    assert error.partial == text


@pytest.mark.parametrize(
    "text", ['For {"city": "Rome"} it is {"a":1}', '{"a":1} that is {"a": 1}', 'like {"a": "x"}: ```json\n{"a":1}\n```']
)
def test_of_several_objects_the_one_that_fits_is_the_answer(text: str) -> None:
    assert complete(answer(text), schema=SCHEMA, mode="prompt").value == {"a": 1}


@pytest.mark.parametrize("cut", ["length", "error", "content_filter"])
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_a_later_stop_does_not_complete_a_truncated_answer(cut: str, schema: Any) -> None:
    chunks = [piece(content='{"a":1'), piece(cut), piece("stop")]
    if schema is None and cut != "error":
        assert complete(*chunks, stream=True).finish_reason == cut
        return
    error = fails(*chunks, stream=True, **({"schema": schema, "mode": "prompt"} if schema else {}))
    assert error.code in ("truncated", "content_filter", "provider_error")
    assert error.partial == '{"a":1'


@pytest.mark.parametrize("finish", ["stop", "function_call", "tool_calls"])
def test_an_empty_call_hides_no_function_call(finish: str) -> None:
    called = complete(piece(tool_calls=[ZERO], function_call=CALL), piece(finish), stream=True)
    assert [call["function"]["name"] for call in called.tool_calls] == ["f"]


def test_another_call_beside_a_function_call_is_a_contradiction() -> None:
    other = {"index": 0, "id": "c", "function": {"name": "g", "arguments": "{}"}}
    error = fails(piece(tool_calls=[other], function_call=CALL), piece("tool_calls"), stream=True)
    assert error.code == "provider_error"
    assert "contradicts itself" in error.message


@pytest.mark.parametrize(
    "content",
    [
        *({"text": "q", "score": 1}, {"content": "q", "a": 1}, {"value": 5, "unit": "kg"}, [{"a": 1}, {"a": 2}]),
        *({"a": 0}, {"ok": False}, [{"a": 0}], {"text": "q", "score": 0}),
    ],
)
def test_an_answer_that_is_a_value_is_its_text(content: Any) -> None:
    assert json.loads(complete(answer(content)).content or "") == content


def test_a_part_without_a_type_is_its_text() -> None:
    assert complete(answer({"text": "q", "annotations": []})).content == "q"
    assert complete(answer([{"text": "q"}, {"text": "r", "index": 1}])).content == "qr"


def test_an_answer_that_was_taken_for_a_thought_is_kept_in_the_error() -> None:
    error = fails(answer(None, reasoning_content='{"a":1}'), schema=SCHEMA, mode="prompt")
    assert (error.code, error.partial) == ("empty_output", '{"a":1}')


POSTED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.mark.parametrize("text", ['{"a":"x"}', "5", "null", '{"b":1}', '{"a":1,"b":2}'])
def test_an_answer_to_a_posted_schema_is_valid_under_it(text: str) -> None:
    assert fails(answer(text), response_format=POSTED).code == "invalid_output"
    assert complete(answer('```json\n{"a":1}\n```'), response_format=POSTED).value == {"a": 1}


@pytest.mark.parametrize("text", ["[1]", "5", "null"])
def test_an_answer_to_json_object_is_an_object(text: str) -> None:
    assert fails(answer(text), response_format={"type": "json_object"}).code == "invalid_output"


@pytest.mark.parametrize(
    ("described", "place"),
    [
        (None, "/body/response_format/json_schema/schema"),
        ({"name": "x"}, "/body/response_format/json_schema/schema"),
        ({"name": "x", "schema": {"type": 7}}, "/body/response_format/json_schema/schema/type"),
    ],
)
def test_a_line_of_a_batch_with_a_schema_that_is_none_is_refused_by_its_place(described: Any, place: str) -> None:
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": described},
    }
    with pytest.raises(InputError, match=place):
        read_body({"custom_id": "1", "body": body}, "1", Template(model="openai/m"))


@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_value_that_its_type_cannot_write_is_an_invalid_output(form: str) -> None:
    class Raw(BaseModel):
        data: bytes
        model_config = ConfigDict(val_json_bytes="base64")

    model = model_of("openai", FakeTransport(answer('{"data":"/////w=="}')), retry=False)
    with pytest.raises(CallError, match="does not fit") as raised:
        ask(model, form, generation_schema=Raw)
    assert raised.value.partial == '{"data":"/////w=="}'


def test_two_calls_without_arguments_and_ids_at_one_place_are_two() -> None:
    calls = [[{"index": 0, "type": "function", "function": {"name": name, "arguments": ""}}] for name in ("f", "g")]
    called = complete(*(piece(tool_calls=each) for each in calls), piece("tool_calls"), stream=True)
    assert [call["function"]["name"] for call in called.tool_calls] == ["f", "g"]


def test_a_name_that_comes_in_pieces_is_one_name() -> None:
    first = {"index": 0, "type": "function", "function": {"name": "get_", "arguments": ""}}
    rest = {"index": 0, "function": {"name": "weather", "arguments": "{}"}}
    called = complete(piece(tool_calls=[first]), piece(tool_calls=[rest]), piece("tool_calls"), stream=True)
    assert [call["function"]["name"] for call in called.tool_calls] == ["get_weather"]


@pytest.mark.parametrize(
    "beside", [{"base_resp": {"status_code": 1027, "status_msg": "sensitive"}}, {"success": False, "message": "no"}]
)
def test_an_error_beside_an_empty_choice_is_an_error(beside: dict[str, Any]) -> None:
    assert fails(answer("") | beside).code == "provider_error"
    assert (
        complete(answer("hi") | {"base_resp": {"status_code": 0, "status_msg": "success"}, "success": True}).content
        == "hi"
    )


@pytest.mark.parametrize("job", [{"schema": SCHEMA, "mode": "typed_xml"}, {"parser": "typed_xml"}])
def test_a_draft_in_xml_is_no_answer_either(job: dict[str, Any]) -> None:
    draft, own = ('<a dtype="int">5</a>', '<a dtype="int">1</a>')
    assert complete(answer(f"maybe {draft}</think>\n{own}"), **job).value == {"a": 1}
    assert fails(answer(f"<think>maybe {draft}"), **job).code == "invalid_output"
