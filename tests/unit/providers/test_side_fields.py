"""A side field never costs a paid answer: it is kept as it came, noted, and what is stored can be read."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from fake_transport import FORMS, FakeTransport, answer, as_chunks, ask, model_of
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.wire.reducer import Reducer

from headrace.batches.outputs.output_lines import outcome_of, success_line
from headrace.chat.completion import Completion, Outcome, Usage, decode_outcome, encode_success
from headrace.errors import CallError, Failure
from headrace.jobs.job import Job
from headrace.portal import run


def complete(script: Any, *, stream: bool = False, transport: FakeTransport | None = None) -> Completion:
    model: ChatCompletion = model_of("openai", transport or FakeTransport(script), retry=False)
    job = Job(model="openai/m", messages=[{"role": "user", "content": "x"}], stream=stream)
    return run(model.complete(job, on_delta=(lambda _: None) if stream else None))


def with_fields(top: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    script = answer(**message)
    script["choices"][0] |= choice
    return script | top


ODD: list[tuple[str, Any]] = [
    ("id", 7), ("id", ["x"]), ("model", {"name": "m"}), ("created", "2026-01-01T00:00:00Z"), ("created", -5),
    ("created", True), ("service_tier", 3), ("system_fingerprint", {"a": 1}), ("provider", 7),
    ("usage", "12 tokens"), ("usage", [1]),
    ("choice.stop_reason", 1.5), ("choice.stop_reason", {"type": "stop"}), ("choice.stop_reason", True),
    ("choice.native_finish_reason", 5), ("choice.logprobs", 5), ("choice.logprobs", ["a"]),
    ("choice.logprobs", {"content": "x"}), ("choice.index", "first"),
    ("message.annotations", {"a": 1}), ("message.annotations", "x"), ("message.reasoning", 7),
    ("message.reasoning_details", {"type": "reasoning.text"}), ("message.audio", "x"),
    ("message.audio", {"data": "!"}), ("message.role", 5),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "value"), ODD, ids=[f"{name}={value!r:.30}" for name, value in ODD])
def test_an_odd_side_field_is_kept_and_costs_nothing(name: str, value: Any, stream: bool) -> None:
    where, _, field = name.rpartition(".")
    fields = {"": {}, "choice": {}, "message": {}} | {where: {field: value}}
    transport = FakeTransport(with_fields(fields[""], fields["choice"], fields["message"]))
    completion = complete(None, stream=stream, transport=transport)
    assert (completion.content, completion.finish_reason) == ("hi", "stop")
    assert len(transport.requests) == 1
    if field != "role":
        assert completion.raw[field] == value
        assert f"{field}: kept as it came" in completion.notes
    result, _ = encode_success(completion)
    assert decode_outcome(result).completion == completion
    assert outcome_of(success_line("a", "r", completion), structured=False)[1] == msgspec.structs.replace(
        completion, **dict.fromkeys(("stop_reason", "native_finish_reason", "raw_usage", "provider")),
        deployment="", service_tier=None, system_fingerprint=None,
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", ["5", -1, True, [5], {"a": 1}, 10**30])
def test_a_count_that_cannot_be_read_is_unknown(form: str, count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 2}
    response = ask(model_of("openai", FakeTransport(answer() | {"usage": usage}), "gpt-4.1"), form)
    assert (response.data, response.metadata["usage"]) == ("hi", usage)
    assert "cost" not in response.metadata
    assert complete(answer() | {"usage": usage}, stream=form == "stream").usage == Usage(0, 2, unknown=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", [None, {}, ""])
def test_tokens_that_did_not_come_are_unknown_not_none(usage: Any, stream: bool) -> None:
    completion = complete(answer() | {"usage": usage}, stream=stream)
    assert (completion.usage, completion.raw_usage, completion.cost) == (Usage(unknown=True), None, None)
    assert completion.counters()["usage_unknown"] == 1
    with pytest.raises(CallError) as raised:
        complete(answer("half", finish="error") | {"usage": usage}, stream=stream)
    assert raised.value.details["counters"]["usage_unknown"] == 1
    with pytest.raises(CallError) as raised:
        complete(CallError("auth", "401", status=401), stream=stream)
    assert "usage_unknown" not in raised.value.details["counters"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("data", ["eHl6eA", "eHl6eA==", " eHl6\neA== ", "-_-_-w", "+/+/+w=="])
def test_sound_without_padding_and_in_the_alphabet_of_urls(form: str, data: str) -> None:
    response = ask(model_of("openai", FakeTransport(answer(None, audio={"id": "a", "data": data}))), form)
    assert response.data["audio"] == (b"xyzx" if data.strip().startswith("eHl6") else base64.b64decode("+/+/+w=="))


@pytest.mark.parametrize("form", FORMS)
def test_sound_that_cannot_be_read_is_a_failure_where_there_is_nothing_else(form: str) -> None:
    with pytest.raises(CallError, match="audio") as raised:
        ask(model_of("openai", FakeTransport(answer(None, audio={"data": "no base64!"})), retry=False), form)
    assert raised.value.code == "provider_error"
    assert ask(model_of("openai", FakeTransport(answer("hi", audio={"data": "no base64!"}))), form).data == "hi"


STRICT: list[dict[str, Any]] = [
    {"content": 5}, {"content": False}, {"content": [5]}, {"content": [{"type": "text", "text": 5}]}, {"refusal": 5},
    {"tool_calls": 5}, {"tool_calls": [5]}, {"tool_calls": [{"id": ["x"], "function": {"name": "f"}}]},
    {"tool_calls": [{"id": {}, "function": {"name": "f"}}]}, {"tool_calls": [{"id": "a", "function": {"name": 5}}]},
    {"tool_calls": [{"id": "a", "function": 5}]}, {"function_call": 5}, {"function_call": {"name": 5}},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", STRICT, ids=str)
def test_refuses_wrong_types_in_required_fields(form: str, message: dict[str, Any]) -> None:
    transport = FakeTransport(answer(**({"content": "half"} | message)))
    with pytest.raises(CallError) as raised:
        ask(model_of("openai", transport, retry=False), form)
    assert raised.value.code == "provider_error"
    assert raised.value.details["counters"]


@pytest.mark.parametrize("form", FORMS)
def test_a_calls_number_is_its_id(form: str) -> None:
    call = {"id": 5, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    script = answer(None, finish="tool_calls", tool_calls=[call])
    (made,) = ask(model_of("openai", FakeTransport(script)), form).data.get_calls()
    assert (made.id, made.name) == ("5", "f")
    completion = complete(script, stream=form == "stream")
    assert decode_outcome(encode_success(completion)[0]).completion == completion


@pytest.mark.parametrize("form", FORMS)
def test_too_many_calls_are_said_and_paid_once(form: str) -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(257)]
    transport = FakeTransport(answer("some text", finish="tool_calls", tool_calls=calls))
    with pytest.raises(CallError, match="more than 256 tool calls") as raised:
        ask(model_of("openai", transport), form)
    assert (raised.value.retryable, raised.value.partial) == (False, "some text")
    assert len(raised.value.details["tool_calls"]) == 256
    assert len(transport.requests) == 1


DEPTH = 975


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_side_field_nested_too_deep_is_left_out() -> None:
    reducer = Reducer()
    reducer.add(answer(annotations=[nested(DEPTH)]))
    completion = reducer.completion(Job(model="openai/m", messages=[]))
    result, kept = encode_success(completion)
    assert (kept.content, kept.annotations) == ("hi", [])
    assert decode_outcome(result).completion == kept
    _, back, _ = outcome_of(success_line("a", "r", completion), structured=False)
    assert back is not None
    assert (back.content, back.annotations) == ("hi", [])


def test_stored_failures_can_be_decoded() -> None:
    reducer, error = Reducer(), CallError("provider_error", "x", status=500)
    reducer.add(answer() | {"usage": {"prompt_tokens": 1, "x": nested(DEPTH)}})
    reducer.keep_what_came(error)
    stored = decode_outcome(msgspec.json.encode(Outcome(error=Failure.of(error)))).error
    assert stored == Failure("provider_error", "x", 500)


def test_chunks_of_a_fake_stream_say_what_the_answer_says() -> None:
    first, last = as_chunks(answer())
    assert (first["choices"][0]["delta"]["content"], last["usage"]["prompt_tokens"]) == ("hi", 3)
