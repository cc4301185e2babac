"""An answer that does not fit is asked for again, with what was wrong, as often as the job says; each time is paid."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FakeTransport, answer, model_of
from headrace_providers.chat_completion import ChatCompletion
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from headrace.chat.completion import Completion
from headrace.errors import CallError, InputError
from headrace.jobs.build import make_job

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
GOOD, BAD = '{"n":1}', '{"n":"one"}'


class OneModel:
    """A registry of a single model."""

    def __init__(self, model: ChatCompletion):
        self.model = model

    def chat_completion(self, model: str, *, retry: bool = True) -> ChatCompletion:
        return self.model


async def ask(*script: Any, **words: Any) -> tuple[Completion, FakeTransport]:
    transport = FakeTransport(*script)
    engine = Engine(OneModel(model_of("openai", transport, retry=False)), calls=4)  # pyright: ignore[reportArgumentType]
    job, _ = make_job("openai/gpt-5-mini", "How many?", schema=SCHEMA, **words)
    tries = Tries()
    try:
        completion = await engine.ask(job, identity="j", epoch=1, tries=tries)
    except CallError as error:
        error.details["transport"], error.details["tries"] = transport, tries
        raise
    return completion, transport


async def test_the_second_answer_fits() -> None:
    completion, transport = await ask(answer(BAD), answer(GOOD), reasks=2)
    assert (completion.value, completion.reasks) == ({"n": 1}, 1)
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (6, 4), "both calls are paid"
    assert completion.counters()["reasks"] == 1
    told = transport.body["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert told[1]["content"] == BAD
    assert '/n: "one" is not of type "integer"' in told[2]["content"]


async def test_each_call_has_a_number_of_its_own() -> None:
    _, transport = await ask(answer(BAD), answer(BAD), answer(GOOD), reasks=2)
    ids = [request.headers["X-Client-Request-Id"] for request in transport.requests]
    assert ids == ["j.1.1", "j.1.2", "j.1.3"]
    assert len(transport.body["messages"]) == 3, "the newest answer alone goes back"


async def test_when_none_fits_the_paid_answer_is_kept() -> None:
    with pytest.raises(CallError) as failed:
        await ask(answer(BAD), reasks=2)
    error = failed.value
    assert (error.code, error.partial) == ("invalid_output", BAD)
    assert error.details["counters"] == {"input_tokens": 9, "output_tokens": 6, "reasks": 2}
    assert len(error.details["transport"].requests) == 3


async def test_without_reasks_one_call_is_made() -> None:
    with pytest.raises(CallError) as failed:
        await ask(answer(BAD))
    assert len(failed.value.details["transport"].requests) == 1


async def test_reasks_do_not_use_up_the_budget_of_failed_calls() -> None:
    busy = CallError("provider_unavailable", "busy", status=503, retry_after_s=0)
    completion, transport = await ask(busy, answer(BAD), busy, busy, busy, answer(GOOD), reasks=1)
    assert completion.value == {"n": 1}
    assert len(transport.requests) == 6


@pytest.mark.parametrize("code", ["refusal", "length"])
async def test_does_not_reask_after_refusals_and_truncation(code: str) -> None:
    said = answer(None, refusal="No.") if code == "refusal" else answer("{", finish="length")
    with pytest.raises(CallError) as failed:
        await ask(said, reasks=3)
    assert len(failed.value.details["transport"].requests) == 1


async def test_mended_and_lax_answers_say_so_and_are_counted() -> None:
    completion, _ = await ask(answer("Sure: {'n': 1}"))
    assert (completion.value, completion.repaired, completion.counters()["repaired"]) == ({"n": 1}, True, 1)
    completion, _ = await ask(answer('{"n":"1"}'), lax=True)
    assert (completion.value, completion.coerced, completion.counters()["coerced"]) == ({"n": 1}, True, 1)


async def test_in_every_mode_the_answer_is_found() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "answer", "arguments": GOOD}}
    for mode, said in {
        "strict": answer(GOOD),
        "json_schema": answer(GOOD),
        "json_object": answer(GOOD),
        "tool_call": answer(None, finish="tool_calls", tool_calls=[call]),
        "typed_xml": answer('<answer dtype="dict"><n dtype="int">1</n></answer>'),
        "prompt": answer(f"```json\n{GOOD}\n```"),
    }.items():
        completion, transport = await ask(said, mode=mode)
        assert (completion.value, completion.mode) == ({"n": 1}, mode)
        body = transport.body
        kind = body.get("response_format", {}).get("type")
        assert kind == {"strict": "json_schema", "json_schema": "json_schema", "json_object": "json_object"}.get(mode)
        assert ("tools" in body) is (mode == "tool_call")
        assert (body["messages"][0]["role"] == "system") is (mode in ("json_object", "typed_xml", "prompt"))
        if mode == "tool_call":
            assert (completion.content, completion.tool_calls, completion.finish_reason) == (GOOD, [], "stop")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"schema": SCHEMA, "mode": "nope"}, "mode"),
        ({"schema": SCHEMA, "reasks": 6}, "reasks"),
        ({"schema": SCHEMA, "reasks": True}, "reasks"),
        ({"schema": SCHEMA, "lax": 1}, "lax"),
        ({"mode": "strict"}, "mode"),
        ({"reasks": 1}, "reasks"),
        ({"schema": SCHEMA, "reasks": 1, "stream": True}, "reasks"),
        (
            {"schema": SCHEMA, "mode": "tool_call", "tools": [{"type": "function", "function": {"name": "f"}}]},
            "tool_call",
        ),
        ({"schema": {"$ref": "https://a.b/c"}}, r"\$ref"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        make_job("openai/gpt-5-mini", "x", **words)


def test_the_mode_is_the_jobs_the_profiles_or_what_is_known_of_the_model() -> None:
    old = model_of("openai", FakeTransport())
    job, _ = make_job("openai/x", "x", schema=SCHEMA)
    assert old.mode_of(job) == "strict"
    old.model_id = "gpt-3.5-turbo"
    assert old.mode_of(job) == "tool_call"
    job, _ = make_job("openai/x", "x", schema=SCHEMA, mode="prompt")
    assert old.mode_of(job) == "prompt"
