"""Answers as OpenAI's clients need them: bodies and chunks of its own types, its headers, and errors of their real status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fake_transport import USAGE, answer, call_of
from gateways import Sse, another_gateway, ask
from openai import OpenAI
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai_types import check
from stack import Stack, started
from stub_provider import StubProvider, stub_provider

BESIDE = frozenset({"reasoning_content", "reasoning_details", "images", "citations", "extra"})
"""Fields beside those of OpenAI's types, named in the docs."""
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
    {"type": "custom", "custom": {"name": "shell"}},
]


def with_logprobs(**choice: Any) -> dict[str, Any]:
    made = answer("Hi")
    made["choices"][0] |= choice
    return made


ANSWERS: dict[str, dict[str, Any]] = {
    "text": answer("Hi") | {"service_tier": "flex", "system_fingerprint": "fp_1"},
    "reasoned": answer("Hi", reasoning="hm", citations=["https://a.example"]),
    "calls": answer(None, finish="tool_calls", tool_calls=[call_of(), call_of(id="call_2")]),
    "logprobs": with_logprobs(logprobs={"content": [TOKEN]}),
    "odd finish": answer("Hi", finish="eos"),
    "no usage": {name: value for name, value in answer("Hi").items() if name != "usage"},
    "odd tier": answer("Hi") | {"service_tier": "on_demand"},
    "details": answer("Hi")
    | {
        "usage": USAGE
        | {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}
    },
}


CUSTOM_CALLS = {"custom": answer(None, finish="tool_calls", tool_calls=[call_of(), CUSTOM])}
"""Calls that OpenAI streams and the types of its package do not know yet."""


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider(ANSWERS | CUSTOM_CALLS) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(provider: StubProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    row = {"like": "vllm", "base_url": provider.url, "unsupported": []}
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.json"
    profiles.write_text(json.dumps({"stub/any": {"input": 1, "output": 2}}))
    profiles.chmod(0o600)
    environment = {"HEADRACE_PROVIDERS": json.dumps({"stub": row}), "HEADRACE_PROFILES": str(profiles)}
    with started(tmp_path_factory.mktemp("answers"), "--no-flower", environment=environment) as stack:
        yield stack


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "rehearsal/small", "messages": [{"role": "user", "content": text}], **more}


def put_together(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What the official client makes of these chunks."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=chunk))  # as it reads them itself
    return state.current_completion_snapshot.model_dump(exclude_none=True)


class TestShapes:
    @pytest.mark.parametrize("key", [*ANSWERS, *CUSTOM_CALLS])
    def test_a_plain_answer_is_of_openais_type(self, key: str, base: str) -> None:
        body = ask(f"{base}/v1/chat/completions", "POST", question(f"<{key}>", model="stub/any", tools=TOOLS)).json
        check(ChatCompletion, body, BESIDE)
        assert body["choices"][0]["finish_reason"] in ("stop", "tool_calls")

    @pytest.mark.parametrize("key", ANSWERS)
    def test_a_streamed_one_is_of_openais_types_and_says_the_same(self, key: str, base: str) -> None:
        asked = question(f"<{key}>", model="stub/any", tools=TOOLS)
        plain = ask(f"{base}/v1/chat/completions", "POST", asked).json
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        *frames, (_, done) = Sse(f"{base}/v1/chat/completions", "POST", asked).all()
        assert done == "[DONE]"
        chunks = [json.loads(data) for _, data in frames]
        for chunk in chunks:
            check(ChatCompletionChunk, chunk, BESIDE)
        message = put_together(chunks)["choices"][0]["message"]
        for call in message.get("tool_calls", ()):
            del call["index"]
        expected = {name: value for name, value in plain["choices"][0]["message"].items() if value is not None}
        assert message == expected
        assert chunks[-1]["usage"] == plain["usage"]
        for name in ("service_tier", "system_fingerprint"):
            assert chunks[-1].get(name) == plain.get(name)

    def test_the_id_names_the_job_whichever_way_it_is_read(self, official: OpenAI) -> None:
        plain = official.chat.completions.with_raw_response.create(**question("Name a tree."))
        streamed = official.chat.completions.with_raw_response.create(**question("Name a tree."), stream=True)
        (told,) = {chunk.id for chunk in streamed.parse()}
        assert told == f"chatcmpl-{streamed.headers['x-headrace-job']}"
        answer = plain.parse()
        assert answer.id == f"chatcmpl-{plain.headers['x-headrace-job']}"
        assert answer.model_extra["extra"]["id"].startswith("chatcmpl-")  # the provider's

    def test_what_is_not_known_is_not_invented(self, base: str) -> None:
        def asked(key: str) -> dict[str, Any]:
            return ask(f"{base}/v1/chat/completions", "POST", question(f"<{key}>", model="stub/any")).json

        assert asked("no usage")["usage"] is None
        assert "service_tier" not in asked("odd tier")
        text = asked("text")
        assert (text["service_tier"], text["system_fingerprint"]) == ("flex", "fp_1")
        assert asked("logprobs")["choices"][0]["logprobs"] == {"content": [TOKEN], "refusal": None}
        assert asked("reasoned")["choices"][0]["message"]["reasoning_content"] == "hm"
        assert asked("details")["extra"]["cost"] == pytest.approx(7e-6)

    def test_a_streamed_custom_tool_call_folds_in_the_client(self, official: OpenAI) -> None:
        chunks = official.chat.completions.create(
            stream=True, tools=TOOLS, model="stub/any", messages=[{"role": "user", "content": "<custom>"}]
        )
        message = put_together([chunk.to_dict() for chunk in chunks])["choices"][0]["message"]
        assert message["tool_calls"][1]["custom"] == {"name": "shell", "input": "ls -l"}


class TestHeaders:
    def test_every_answer_has_an_id_and_its_time(self, base: str, official: OpenAI) -> None:
        one, other = (official.chat.completions.create(**question("Why?")) for _ in range(2))
        assert one._request_id
        assert one._request_id.startswith("req_")
        assert one._request_id != other._request_id
        for method, path in (
            ("GET", "/v1/models"),
            ("GET", "/v1/nothing"),
            ("DELETE", "/v1/jobs"),
            ("GET", "/healthz"),
        ):
            headers = ask(base + path, method).headers
            assert headers["x-request-id"].startswith("req_"), path
            assert int(headers["openai-processing-ms"]) >= 0

    def test_an_answer_names_its_job_also_when_it_failed(self, base: str) -> None:
        for text in ("Why?", "[[rehearsal fault=400]]"):
            for stream in (False, True):
                answer = ask(f"{base}/v1/chat/completions", "POST", question(text, stream=stream))
                assert answer.headers["x-headrace-job"].startswith("job_"), text

    def test_pages_of_other_sites_can_read_them(self, stack: Stack) -> None:
        with another_gateway(stack, "cors", HEADRACE_GATEWAY_ORIGINS="https://app.example") as (base, _):
            headers = ask(f"{base}/v1/models", origin="https://app.example").headers
        exposed = {name.strip().lower() for name in headers["access-control-expose-headers"].split(",")}
        assert {"x-request-id", "openai-processing-ms", "x-headrace-job", "retry-after", "x-should-retry"} <= exposed


class TestErrors:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("fault", "kind", "status", "code"),
        [
            ("400", openai.BadRequestError, 400, "invalid_request"),
            ("401", openai.InternalServerError, 502, "provider_auth"),
            ("403", openai.InternalServerError, 502, "provider_auth"),
            ("404", openai.NotFoundError, 404, "not_found"),
            ("422", openai.BadRequestError, 400, "invalid_request"),
        ],
    )
    def test_a_failure_before_the_first_token_has_its_status(
        self, fault: str, kind: type[openai.APIStatusError], status: int, code: str, stream: bool, official: OpenAI
    ) -> None:
        with pytest.raises(kind) as caught:
            official.chat.completions.create(**question(f"[[rehearsal fault={fault}]] Why?", stream=stream))
        assert (caught.value.status_code, caught.value.code) == (status, code)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert caught.value.response.headers["content-type"] == "application/json"

    def test_after_it_the_stream_says_so(self, official: OpenAI) -> None:
        chunks = official.chat.completions.create(
            stream=True, **question("[[rehearsal fault=stream_error; after=3]] Say this word by word.")
        )
        with pytest.raises(openai.APIError) as caught:
            list(chunks)
        assert not isinstance(caught.value, openai.APIStatusError)

    def test_the_head_comes_after_a_heartbeats_silence(self, stack: Stack) -> None:
        with another_gateway(stack, "quick", HEADRACE_HEARTBEAT_S="0.3") as (base, _):
            asked = question("[[rehearsal latency=3000; fault=400]] Why?", stream=True)
            began = time.monotonic()
            with Sse(f"{base}/v1/chat/completions", "POST", asked) as stream:
                assert stream.status == 200
                assert time.monotonic() - began < 2.5, "it did not wait for the failure"
                ((_, data),) = stream.all()
        assert json.loads(data)["error"]["code"] == "invalid_request"

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"messages": [{"role": "user"}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": "x"}], "temperature": 9}, "temperature"),
            ({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}, "tools[0]"),
            (
                {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "xml"}},
                "response_format.type",
            ),
            (
                {
                    "messages": [{"role": "user", "content": "x"}],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "n", "schema": {"type": "nope"}},
                    },
                },
                "response_format.json_schema.schema.type",
            ),
            (
                {"messages": [{"role": "user", "content": "x"}], "tools": TOOLS[:1], "tool_choice": "nobody"},
                "tool_choice",
            ),
        ],
    )
    def test_a_place_is_written_as_openai_does(self, body: dict[str, Any], param: str, official: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            official.chat.completions.create(**({"model": "rehearsal/small"} | body))
        assert caught.value.param == param

    def test_a_conflict_is_not_repeated(self, base: str) -> None:
        path = f"{base}/v1/chat/completions"
        ask(path, "POST", question("one"), idempotency_key="k-conflict")
        answer = ask(path, "POST", question("two"), idempotency_key="k-conflict")
        assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")

    def test_unknown_routes_say_what_exists(self, base: str) -> None:
        answer = ask(f"{base}/v1/embeddings", "POST", {})
        assert answer.status == 404
        assert "/v1/chat/completions" in answer.json["error"]["message"]
        answer = ask(f"{base}/v1/models", "POST", {})
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
        assert "it takes GET" in answer.json["error"]["message"]


class TestRateLimits:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("header", "model"), [("x-stainless-read-timeout", "vllm/a"), ("x-stainless-timeout", "openrouter/b")]
    )
    def test_a_wait_beyond_patience_is_told_and_its_retry_joined(
        self, stack: Stack, base: str, stream: bool, header: str, model: str
    ) -> None:
        """One deployment for each case would be held by the one before: a limit of seconds is over by then."""
        path = f"{base}/v1/chat/completions"
        text = f"[[rehearsal fault=429; retry_after=8; times=1]] Why? {stream} {header}"
        asked = question(text, model=model, stream=stream)
        answer = ask(path, "POST", asked, **{header: "7"})
        assert answer.status == 429, answer.body
        assert 1 <= int(answer.headers["retry-after"]) <= 9
        assert answer.headers.get("x-should-retry") is None
        assert answer.json["error"]["code"] == "rate_limited"
        job = answer.headers["x-headrace-job"]
        again = ask(path, "POST", asked, **{header: "60", "x-stainless-retry-count": "1"})
        assert (again.status, again.headers["x-headrace-job"]) == (200, job)
        assert [call.status for call in stack.calls_of(job)] == [429, 200]

    @pytest.mark.parametrize(("stream", "model"), [(False, "vllm/c"), (True, "openrouter/c")])
    def test_being_told_so_is_no_leaving(self, stack: Stack, base: str, stream: bool, model: str) -> None:
        """Whose job is to be cancelled when it leaves has not left: its retry is given the answer."""
        text = f"[[rehearsal fault=429; retry_after=8; times=1]] Still there. {stream}"
        asked = question(text, model=model, stream=stream, headrace={"on_disconnect": "cancel"})
        answer = ask(f"{base}/v1/chat/completions", "POST", asked, x_stainless_timeout="7")
        assert answer.status == 429, answer.body
        again = ask(f"{base}/v1/chat/completions", "POST", asked, x_stainless_timeout="60", x_stainless_retry_count="1")
        assert (again.status, again.headers["x-headrace-job"]) == (200, answer.headers["x-headrace-job"])

    @pytest.mark.parametrize("stream", [False, True])
    def test_the_official_clients_own_retry_gets_the_answer(self, stack: Stack, base: str, stream: bool) -> None:
        before = len(stack.calls())
        text = f"[[rehearsal fault=429; retry_after=4; times=1]] Why, with the defaults? {stream}"
        with OpenAI(base_url=f"{base}/v1", api_key="none", timeout=7) as client:  # it waits two seconds for a limit
            answer = client.chat.completions.create(**question(text, stream=stream))
            if stream:
                assert any(chunk.choices[0].delta.content for chunk in answer if chunk.choices)
            else:
                assert answer.choices[0].message.content
        assert [call.status for call in stack.calls()[before:]] == [429, 200]

    def test_a_shorter_wait_is_waited_out(self, base: str) -> None:
        asked = question("[[rehearsal fault=429; retry_after=2; times=1]] Why?")
        answer = ask(f"{base}/v1/chat/completions", "POST", asked, x_stainless_timeout="60")
        assert answer.status == 200


class TestChoices:
    def test_n_choices_are_n_calls_where_one_gives_one(self, stack: Stack, official: OpenAI) -> None:
        raw = official.chat.completions.with_raw_response.create(n=3, **question("Why?"))
        check(ChatCompletion, json.loads(raw.text), BESIDE)
        completion = raw.parse()
        assert [choice.index for choice in completion.choices] == [0, 1, 2]
        assert all(choice.message.content for choice in completion.choices)
        job = raw.headers["x-headrace-job"]
        ids = [str(call.request_id).rpartition(".")[2] for call in stack.calls_of(job)]
        assert sorted(ids) == ["1", "2", "3"]
        assert completion.usage
        assert completion.usage.completion_tokens == sum(call.tokens for call in stack.calls_of(job))

    @pytest.mark.parametrize("schema", [False, True])
    def test_streamed_they_come_by_their_index(self, schema: bool, base: str, official: OpenAI) -> None:
        asked = question("Why?", n=3, stream=True)
        if schema:
            shape = {"type": "object", "additionalProperties": {"type": "integer"}}  # lowered: as a list of pairs
            asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "n", "schema": shape}}
        *frames, _ = Sse(f"{base}/v1/chat/completions", "POST", asked).all()
        chunks = [json.loads(data) for _, data in frames]
        for chunk in chunks:
            check(ChatCompletionChunk, chunk, BESIDE)
        choices = put_together(chunks)["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2]
        for choice in choices:
            assert choice["finish_reason"] == "stop"
            if schema:
                values = json.loads(choice["message"]["content"])
                assert isinstance(values, dict)
                assert all(isinstance(value, int) for value in values.values())

    def test_a_failed_one_fails_the_request(self, official: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError):
            official.chat.completions.create(n=2, **question("[[rehearsal fault=400; times=1]] Why?"))

    @pytest.mark.parametrize("n", [0, 9, True, "2"])
    def test_other_numbers_are_refused(self, n: Any, official: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            official.chat.completions.create(n=n, **question("Why?"))
        assert caught.value.param == "n"
