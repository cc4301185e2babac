"""`structured` is what was validated: calls that nobody offered, empty calls, numbers that JSON does not have."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, T, answer, call_of, model_of

from headrace.batches.outputs.output_lines import outcome_of, simple, success_line
from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace.portal import run
from headrace.schema.modes import MODES

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_object"}
FOREIGN = [call_of("nobody_offered_it", '{"b":2}')]
ZERO = {"name": "", "arguments": ""}
XML = '<a dtype="int">1</a>'
KINDS: dict[str, dict[str, Any]] = {
    **{mode: {"schema": SCHEMA, "mode": mode} for mode in MODES},
    "parser": {"parser": "typed_xml"},
    "response_format": {"response_format": FORMAT},
}
FORMS = pytest.mark.parametrize("stream", [False, True])


def text_for(kind: str) -> str:
    return XML if kind in ("typed_xml", "parser") else '{"a":1}'


def complete(script: Any, *, stream: bool = False, **job: Any) -> Completion:
    model = model_of("openai", FakeTransport(script), retry=False)
    asked = Job(model="openai/m", messages=[{"role": "user", "content": "x"}], stream=stream, **job)
    return run(model.complete(asked, on_delta=(lambda _: None) if stream else None))


def fails(script: Any, **job: Any) -> CallError:
    with pytest.raises(CallError) as raised:
        complete(script, **job)
    return raised.value


def row_of(completion: Completion) -> dict[str, Any]:
    """The row of the completion in the file of a structured batch, and that both its readers take it."""
    line = success_line("1", "r", completion)
    _, back, _ = outcome_of(line, structured=True)
    assert back is not None
    assert (back.value, back.tool_calls) == (completion.value, completion.tool_calls)
    return json.loads(simple(line, structured=True))


@FORMS
@pytest.mark.parametrize("kind", KINDS)
def test_words_beside_a_call_that_nobody_offered_are_no_value(kind: str, stream: bool) -> None:
    script = answer("Let me check", finish="tool_calls", tool_calls=FOREIGN)
    error = fails(script, stream=stream, **KINDS[kind])
    assert (error.code, error.partial) == ("invalid_output", "Let me check")


@FORMS
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_validates_beside_such_a_call_is_the_answer(kind: str, stream: bool) -> None:
    script = answer(text_for(kind), finish="tool_calls", tool_calls=FOREIGN)
    completion = complete(script, stream=stream, **KINDS[kind])
    assert (completion.value, completion.structured) == ({"a": 1}, True)
    assert (completion.tool_calls, completion.finish_reason) == ([], "stop")
    assert completion.raw["tool_calls"] == FOREIGN
    assert any("nobody offered" in note for note in completion.notes)
    assert row_of(completion) == {"custom_id": "1", "value": {"a": 1}}


@FORMS
@pytest.mark.parametrize("kind", KINDS)
def test_an_unoffered_call_alone_is_no_answer(kind: str, stream: bool) -> None:
    error = fails(answer(None, finish="tool_calls", tool_calls=FOREIGN), stream=stream, **KINDS[kind])
    assert (error.code, error.retryable) == ("invalid_output", False)
    assert "nobody_offered_it" in str(error)
    assert error.details["tool_calls"] == FOREIGN


@FORMS
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tool_call"])
@pytest.mark.parametrize("extra", [{"function_call": ZERO}, {"tool_calls": [{"id": "", "function": ZERO}]}])
def test_an_empty_call_is_none(kind: str, extra: dict[str, Any], stream: bool) -> None:
    completion = complete(answer(text_for(kind), **extra), stream=stream, **KINDS[kind])
    assert (completion.value, completion.tool_calls) == ({"a": 1}, [])
    assert row_of(completion) == {"custom_id": "1", "value": {"a": 1}}
    assert fails(answer("Let me check", **extra), stream=stream, **KINDS[kind]).code == "invalid_output"
    assert fails(answer(None, **extra), stream=stream, **KINDS[kind]).code == "empty_output"


def test_an_offered_call_is_a_turn_without_a_value() -> None:
    script = answer("Let me check", finish="tool_calls", tool_calls=[call_of("f")])
    completion = complete(script, schema=SCHEMA, tools=[T])
    assert (completion.value, completion.structured, len(completion.tool_calls)) == (None, False, 1)
    row = row_of(completion)
    assert row == {"custom_id": "1", "value": None, "text": "Let me check", "tool_calls": [call_of("f")]}


def test_several_answers_by_tool_must_say_the_same() -> None:
    same = [call_of("answer", '{"a":1}', id) for id in "xy"]
    assert complete(answer(None, tool_calls=same), schema=SCHEMA, mode="tool_call").value == {"a": 1}
    other = [call_of("answer", arguments, id) for id, arguments in (("x", '{"a":1}'), ("y", '{"a":2}'))]
    error = fails(answer(None, tool_calls=other), schema=SCHEMA, mode="tool_call")
    assert error.code == "invalid_output"
    assert '{"a":2}' in (error.partial or "")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e309"])
@pytest.mark.parametrize("kind", ["strict", "json_object", "response_format"])
def test_a_number_that_would_become_null_is_invalid(kind: str, number: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    job = KINDS[kind] | ({"schema": schema} if "schema" in KINDS[kind] else {})
    error = fails(answer(f'{{"a":{number}}}'), **job)
    assert (error.code, error.partial) == ("invalid_output", f'{{"a":{number}}}')


def test_a_line_of_an_earlier_version_is_read_as_it_was_meant() -> None:
    def line(content: str | None, **message: Any) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}
        return msgspec.json.encode({"custom_id": "1", "response": {"body": {"choices": [choice]}}, "error": None})

    assert json.loads(simple(line('{"a":1}'), structured=True))["value"] == {"a": 1}
    assert json.loads(simple(line("Let me check"), structured=True))["value"] is None
    assert json.loads(simple(line("5", tool_calls=FOREIGN), structured=True))["value"] is None
    assert json.loads(simple(line(None), structured=True))["value"] is None
    _, completion, _ = outcome_of(line("Let me check"), structured=True)
    assert completion is not None
    assert (completion.value, completion.content) == (None, "Let me check")
