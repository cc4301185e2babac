"""Words and shapes of servers that speak OpenAI's language with an accent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, answer, call_of, model_of, piece

from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError
from headrace.jobs.job import Job

JOB = Job(model="x/y", messages=[{"role": "user", "content": "q"}])
LIST = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}, "required": ["a"]}


async def completed(script: Any, **job: Any) -> Completion:
    model = model_of("vllm", FakeTransport(script), retry=False)
    return await model.complete(msgspec.structs.replace(JOB, **job))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("end_turn", "stop"), ("STOP", "stop"), ("MAX_TOKENS", "length"), ("model_length", "length"), ("SAFETY", "content_filter"),
     ("tool_use", "tool_calls"), ("eos", "stop"), ("sensitive", "content_filter"), ("some_other", "some_other")],
)  # fmt: skip
async def test_a_finish_reason_in_our_words_and_in_theirs(theirs: str, ours: str) -> None:
    completion = await completed(answer("hi", finish=theirs))
    assert (completion.finish_reason, completion.native_finish_reason) == (ours, theirs if ours != theirs else None)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("model_length", "truncated"), ("max_tokens", "truncated"), ("MAX_TOKENS", "truncated"), ("SAFETY", "content_filter"),
     ("insufficient_system_resource", "provider_error"), ("network_error", "provider_error"), ("unheard_of", "truncated")],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_does_not_repair_truncated_answers(reason: str, code: str, stream: bool) -> None:
    script: Any = (
        [piece(content='{"a": [1, 2'), piece(finish=reason)] if stream else answer('{"a": [1, 2', finish=reason)
    )
    with pytest.raises(CallError) as failed:
        await completed(script, schema=LIST, stream=stream)
    assert failed.value.code == code


@pytest.mark.parametrize(
    "reason", ["ERROR", "network_error", "engine_error", "cancelled", "insufficient_system_resource"]
)
async def test_an_answer_that_broke_is_no_success(reason: str) -> None:
    with pytest.raises(CallError) as failed:
        await completed(answer("half a te", finish=reason))
    assert (failed.value.code, failed.value.partial) == ("provider_error", "half a te")


def stamped(text: str, **delta: Any) -> dict[str, Any]:
    """A chunk of a server that writes its end into every one."""
    return piece("stop", content=text, **delta) | {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}


async def test_a_server_that_says_its_end_in_every_chunk_is_heard_out() -> None:
    completion = await completed([stamped("half"), 0.8, stamped(" rest"), None], stream=True)
    assert completion.content == "half rest"
    completion = await completed([stamped("", role="assistant"), 0.8, stamped("text"), None], stream=True)
    assert completion.content == "text"


async def test_an_error_after_the_end_costs_nothing() -> None:
    chunks = [
        piece(content="hi"),
        piece("stop"),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    ]
    assert (await completed([*chunks, {"error": {"message": "too late"}}], stream=True)).content == "hi"


@pytest.mark.parametrize(
    ("usage", "known"),
    [({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2)), ({"promptTokenCount": 5, "candidatesTokenCount": 2}, Usage(5, 2)),
     ({"total_tokens": 249}, Usage(unknown=True)), ({"prompt_tokens": 5}, Usage(5, unknown=True)),
     ({"queue_time": 1}, Usage(unknown=True)),
     ({"prompt_tokens": 5, "total_tokens": 9}, Usage(5, 4)),
     ({"prompt_tokens": None, "completion_tokens": None}, Usage(unknown=True))],
)  # fmt: skip
async def test_tokens_under_other_names_are_read_and_others_unknown(usage: dict[str, Any], known: Usage) -> None:
    assert (await completed(answer("hi") | {"usage": usage})).usage == known


async def test_tokens_in_the_choice() -> None:
    chunks = [piece(content="hi"), piece("stop")]
    chunks[1]["choices"][0]["usage"] = {"prompt_tokens": 5, "completion_tokens": 2}
    assert (await completed(chunks, stream=True)).usage == Usage(5, 2)


BARE: dict[str, dict[str, Any]] = {
    "without an object": {"name": "f", "arguments": {"x": 1}},
    "tool_use": {"id": "c", "type": "tool_use", "name": "f", "input": {"x": 1}},
    "parameters": {"id": "c", "type": "function", "function": {"name": "f", "parameters": {"x": 1}}},
}


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize("stream", [False, True])
async def test_calls_in_other_shapes(name: str, stream: bool) -> None:
    script: Any = answer(None, finish="tool_calls", tool_calls=[BARE[name]])
    if stream:
        script = [piece(tool_calls=[BARE[name]]), piece("tool_calls")]
    (call,) = (await completed(script, stream=stream)).tool_calls
    assert call["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert call.keys() == {"id", "type", "function"}


async def test_a_call_among_the_parts_of_a_content() -> None:
    parts = [{"type": "text", "text": "Look."}, BARE["tool_use"]]
    completion = await completed(answer(parts, finish="tool_use"))  # type: ignore[arg-type]
    assert (completion.content, completion.tool_calls[0]["function"]["name"]) == ("Look.", "f")


async def test_the_end_of_calls_without_a_call_contradicts_itself() -> None:
    with pytest.raises(CallError) as failed:
        await completed(answer("", finish="tool_calls"))
    assert not failed.value.retryable


@pytest.mark.parametrize(
    "pieces", [["{}", '{"x":1}'], ['{"x":1', '{"x":1}'], ['{"x":1}', '{"x":1} '], ['{"x"', ":1}", '{"x":1}']]
)
async def test_arguments_that_are_said_again_are_said_once(pieces: list[str]) -> None:
    first, *rest = pieces
    chunks = [piece(tool_calls=[{"index": 0} | call_of("f", first)])]
    chunks += [piece(tool_calls=[{"index": 0, "function": {"arguments": more}}]) for more in rest]
    completion = await completed([*chunks, piece("tool_calls")], stream=True)
    assert [call["function"]["arguments"].strip() for call in completion.tool_calls] == ['{"x":1}']


async def test_a_name_that_grows_is_said_once() -> None:
    names = ("get", "get_weather")
    chunks = [piece(tool_calls=[{"index": 0, "id": "c", "function": {"name": name}}]) for name in names]
    completion = await completed([*chunks, piece("tool_calls")], stream=True)
    assert completion.tool_calls[0]["function"]["name"] == "get_weather"


async def test_an_answer_that_is_an_object_is_its_text() -> None:
    assert (await completed(answer({"a": [1]}), schema=LIST)).value == {"a": [1]}  # type: ignore[arg-type]


async def test_a_part_that_cannot_be_read_is_kept() -> None:
    completion = await completed(answer([{"type": "text", "text": "So."}, {"type": "text", "data": "x"}]))  # type: ignore[arg-type]
    assert (completion.content, completion.raw["content"]) == ("So.", [{"type": "text", "data": "x"}])


@pytest.mark.parametrize(
    "error", [{"message": "", "type": "", "code": ""}, {"code": 0, "message": ""}, False, [], "", {}]
)
async def test_an_error_that_says_nothing_is_none(error: Any) -> None:
    assert (await completed(answer("hi") | {"error": error})).content == "hi"
    script = answer("hi")
    script["choices"][0]["error"] = error
    assert (await completed(script)).content == "hi"


@pytest.mark.parametrize("field", ["function_call", "tool_calls", "refusal"])
@pytest.mark.parametrize("nothing", ["", False, [], {}, None])
async def test_an_empty_field_is_no_field(field: str, nothing: Any) -> None:
    assert (await completed(answer("hi", **{field: nothing}))).content == "hi"


async def test_one_choice_that_is_counted_up_contradicts_itself() -> None:
    chunks = [piece(content=text) for text in ("a", "b", "c")]
    for index, chunk in enumerate(chunks):
        chunk["choices"][0]["index"] = index
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3}}
    with pytest.raises(CallError, match="contradicts itself"):
        await completed([*chunks, usage, None], stream=True)


async def test_thoughts_in_pieces_under_another_name() -> None:
    chunks = [piece(reasoning_text="I "), piece(reasoning_text="think"), piece(content="So."), piece("stop")]
    assert (await completed(chunks, stream=True)).reasoning == "I think"


@pytest.mark.parametrize("pieces", [["one"], ["o", "ne"]])
async def test_two_choices_under_one_number_are_no_guess(pieces: list[str]) -> None:
    chunks: list[Any] = []
    for text in (pieces, ["two"]):
        chunks += [piece(content=each, **({"role": "assistant"} if at == 0 else {})) for at, each in enumerate(text)]
        chunks[-1]["choices"][0]["finish_reason"] = "stop"
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3}}
    with pytest.raises(CallError, match="two answers in one choice"):
        await completed([*chunks, usage, None], stream=True)
