"""Credentials by their value: which are remembered, and what is left of a text, a value, an error."""

from __future__ import annotations

import pytest
from fake_transport import FakeTransport, answer, model_of
from headrace_providers import credentials
from headrace_providers.credentials import holds_secret, kept, remember, remember_headers, scrub, scrubbed
from headrace_providers.wire.provider_errors import without_credentials
from headrace_providers.wire.reducer import Reducer

from headrace.chat.completion import encode_success
from headrace.chat.options import Options
from headrace.errors import CallError, Failure
from headrace.jobs.job import Job
from headrace.portal import run

JOB = Job(model="openai/m", messages=[{"role": "user", "content": "x"}])


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_configured", {})
    monkeypatch.setattr(credentials, "_of_jobs", {})


@pytest.mark.parametrize("key", ["gsk_abc123", "or-v1-xyz", "a.b+c/d==", "(regex[", "plain-key"])
def test_a_key_of_any_shape_is_taken_out(key: str) -> None:
    remember(key)
    assert scrub(f"x {key} y {key}") == "x … y …"
    assert scrubbed({key: [key, {"a": f"<{key}>"}, 5, None]}) == {"…": ["…", {"a": "<…>"}, 5, None]}
    assert holds_secret({"a": [f"<{key}>"]})
    assert not holds_secret({"a": ["nothing"]})


def test_public_defaults_and_short_words_stay() -> None:
    remember("rehearsal", default="rehearsal")
    remember("none")
    remember(None)
    remember("")
    assert scrub("rehearsal/small: none") == "rehearsal/small: none"


def test_the_longer_key_goes_first() -> None:
    remember("secret-1")
    remember("secret-1-and-more")
    assert scrub("secret-1-and-more") == "…"


@pytest.mark.parametrize(
    "name",
    ["Authorization", "api-key", "X-Api-Key", "Helicone-Auth", "cf-aig-authorization", "X-Trace-Token", "X-Secret"],
)
def test_headers_of_credentials(name: str) -> None:
    remember_headers({name: "Bearer abcdef-123456"})
    assert "abcdef" not in scrub("it was abcdef-123456")


@pytest.mark.parametrize("name", ["X-Author", "X-Max-Tokens", "X-Title", "HTTP-Referer", "X-Keyboard"])
def test_headers_of_other_things(name: str) -> None:
    remember_headers({name: "marketing"})
    assert scrub("marketing") == "marketing"


def test_of_the_headers_of_jobs_the_newest_are_remembered() -> None:
    remember("configured-key")
    for number in range(credentials.MAX_OF_JOBS + 10):
        remember_headers({"X-Token": f"token-of-job-{number:06}"})
    assert scrub("token-of-job-000000") == "token-of-job-000000"
    assert scrub(f"token-of-job-{credentials.MAX_OF_JOBS:06} configured-key") == "… …"
    assert len(credentials.secrets()) == credentials.MAX_OF_JOBS + 1


def test_an_error_of_a_call_with_a_job_own_token() -> None:
    error = CallError("auth", "jobs-own-token is wrong", details={"metadata": {"id": "my-api-key jobs-own-token"}})
    model = model_of("openai", FakeTransport(error), retry=False, api_key="my-api-key")
    job = Job(
        model="openai/m",
        messages=[{"role": "user", "content": "x"}],
        options=Options(extra_headers={"X-Trace-Token": "jobs-own-token"}),
    )
    with pytest.raises(CallError) as raised:
        run(model.complete(job))
    assert str(raised.value) == raised.value.message == "… is wrong"
    assert raised.value.details["metadata"] == {"id": "… …"}


def test_a_models_own_words_stay() -> None:
    model = model_of("openai", FakeTransport(answer("the word is my-api-key")), retry=False, api_key="my-api-key")
    job = Job(model="openai/m", messages=[{"role": "user", "content": "say my-api-key"}])
    assert run(model.complete(job)).content == "the word is my-api-key"


def test_a_text_beside_an_answer_that_echoes_the_key() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "by": "my-api-key"}
    script = answer("hi") | {"id": "my-api-key-1", "service_tier": "my-api-key", "usage": usage}
    completion = run(model_of("openai", FakeTransport(script), api_key="my-api-key").complete(JOB))
    assert "my-api-key" not in encode_success(completion)[0].decode()
    assert (completion.id, completion.usage.input_tokens) == ("…-1", 1)


def test_kept_fields_are_bounded() -> None:
    large, deep = ["x" * credentials.MAX_KEPT], [[]]
    for _ in range(950):
        deep = [deep]
    fields, notes = kept({"a": large, "b": deep, "c": 5})
    assert "a" not in fields
    assert fields["c"] == 5
    assert notes[0] == "a: left out, it is too large"
    assert scrubbed(deep) != deep
    reducer = Reducer()
    reducer.add(answer("hi") | {"service_tier": large, "usage": {"prompt_tokens": 1, "x": deep}})
    completion = reducer.completion(JOB)
    assert (completion.content, completion.raw) == ("hi", {})
    error = CallError("provider_error", "x")
    reducer.keep_what_came(error)
    assert Failure.of(without_credentials(error)).code == "provider_error"


@pytest.mark.parametrize("key", ["or-v1-abcdef", 'quo"ted-key', "back\\slash-key"])
def test_a_key_in_any_side_field_is_taken_out(key: str) -> None:
    remember(key)
    script = answer(
        "hi",
        annotations=[key],
        images=[{"type": "image_url", "image_url": {"url": key}}],
        reasoning_details=[{"data": key}],
        executed_tools=[{key: 1}],
        tool_calls=[
            {"id": key, "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": key}
        ],
    ) | {"citations": [key], key: key, "provider": key}
    script["choices"][0] |= {"stop_reason": key, "native_finish_reason": key, "logprobs": {"content": [{"token": key}]}}
    reducer = Reducer()
    reducer.add(script)
    completion = reducer.completion(JOB)
    assert not holds_secret(completion)
    assert completion.content == "hi"


def test_does_not_scrub_what_a_model_says() -> None:
    """A local server's key is often a word, and a model may say it; what it calls a tool with is never touched."""
    for key in ("rehearsal", "tool-key-0123456"):
        remember(key)
    arguments = '{"room":"rehearsal room tool-key-0123456"}'
    call = {"id": "rehearsal", "type": "function", "function": {"name": "rehearsal", "arguments": arguments}}
    reducer = Reducer()
    reducer.add(
        answer("in rehearsal", tool_calls=[call], citations=["http://a/rehearsal"]) | {"model": "rehearsal/small"}
    )
    completion = reducer.completion(JOB)
    assert completion.tool_calls == [call]
    assert (completion.model, completion.citations) == ("rehearsal/small", ["http://a/rehearsal"])
    assert "rehearsal" not in scrub("Incorrect API key: rehearsal")
