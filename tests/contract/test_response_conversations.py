"""Conversations over `/v1/responses`: what a provider is asked with when a response goes on from another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fake_transport import answer, call_of
from gateways import Answer, Sse, another_gateway, ask
from headrace_api.auth import EVERY_JOB, SCOPES, Gate
from openai import OpenAI
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList
from openai_types import check
from stack import Stack, started
from stub_provider import StubProvider, stub_provider

STUB = "openrouter/m"
TOOL: Any = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
DETAILS = [{"type": "reasoning.encrypted", "data": "s", "format": "x", "index": 0}]
TOKEN = {"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "free"}}
ANSWERS = {
    "call": answer(None, finish="tool_calls", tool_calls=[call_of()]),
    "custom": answer(None, finish="tool_calls", tool_calls=[CUSTOM]),
    "think": answer("so", reasoning="hm", reasoning_details=DETAILS),
    "no": answer(None, refusal="I will not."),
    "tokens": answer("hi"),
    "": answer("hi"),
}
ANSWERS["tokens"]["choices"][0]["logprobs"] = {"content": [TOKEN]}
SEALED: Any = ["reasoning.encrypted_content"]


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider(ANSWERS) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(provider: StubProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"OPENROUTER_API_KEY": "sk-x", "OPENROUTER_BASE_URL": provider.url}
    with started(tmp_path_factory.mktemp("service"), "--no-flower", environment=environment) as stack:
        yield stack


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


def asked_last(provider: StubProvider) -> list[Any]:
    """The messages of the last call."""
    return provider.bodies[-1]["messages"]


def answered(base: str, prompt: str, *, stream: bool, **body: Any) -> Any:
    """A response as it is on the wire in the end, checked."""
    asked = {"model": STUB, "input": prompt, "stream": stream} | body
    if not stream:
        shown = ask(f"{base}/v1/responses", "POST", asked).json
    else:
        *_, (_, last) = Sse(f"{base}/v1/responses", "POST", asked, content_type="application/json").all()
        shown = json.loads(last)["response"]
    check(Response, shown)
    return shown


class TestConversations:
    def test_a_previous_response_is_the_conversation_before(self, provider: StubProvider, official: OpenAI) -> None:
        first = official.responses.create(model=STUB, input="My name is Ada. <>", instructions="Be brief.")
        second = official.responses.create(model=STUB, input="Who am I?", previous_response_id=first.id)
        assert second.previous_response_id == first.id
        third = official.responses.create(model=STUB, input="Sure?", previous_response_id=second.id)
        messages = asked_last(provider)
        assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
        assert messages[1]["content"] == first.output_text
        assert messages[3]["content"] == second.output_text
        official.responses.delete(second.id)
        official.responses.create(model=STUB, input="Still?", previous_response_id=third.id)
        assert len(asked_last(provider)) == 7, "what came before is kept with each response"

    def test_a_tool_makes_a_round_trip(self, provider: StubProvider, official: OpenAI) -> None:
        first = official.responses.create(model=STUB, input="A pet? <call>", tools=[TOOL])
        (call,) = first.output
        assert call.type == "function_call"
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "a cat <>"}
        second = official.responses.create(model=STUB, input=[output], previous_response_id=first.id, tools=[TOOL])
        assert second.output
        user, turn, tool = asked_last(provider)
        assert turn["tool_calls"][0]["id"] == tool["tool_call_id"] == call.call_id
        with pytest.raises(openai.BadRequestError, match="no output of the call"):
            official.responses.create(model=STUB, input="And?", previous_response_id=first.id)
        items: Any = [{"role": "user", "content": "A pet? <call>"}, *first.to_dict()["output"], output]
        official.responses.create(model=STUB, input=items, tools=[TOOL])
        assert asked_last(provider) == [user, turn, tool], "the same without the server's memory"

    def test_an_item_is_named_by_its_id(self, provider: StubProvider, official: OpenAI) -> None:
        first = official.responses.create(model=STUB, input="Why? <>")
        items: Any = [
            {"role": "user", "content": "Why? <>"},
            {"type": "item_reference", "id": first.output[0].id},
            {"role": "user", "content": "And?"},
        ]
        official.responses.create(model=STUB, input=items)
        assert asked_last(provider)[1]["content"] == first.output_text
        with pytest.raises(openai.BadRequestError) as caught:
            official.responses.create(model=STUB, input=[{"type": "item_reference", "id": "msg_unknown"}])
        assert "input" in str(caught.value.param)

    def test_another_callers_is_unknown(self, stack: Stack) -> None:
        secret = "a secret of sixteen"
        gate = Gate(secret.encode(), is_open=False)
        with another_gateway(stack, "callers", HEADRACE_STREAM_SECRET=secret, HEADRACE_GATEWAY_OPEN="0") as (base, _):

            def post(sub: str, **more: Any) -> Answer:
                token = gate.sign(EVERY_JOB, SCOPES, sub=sub)
                body = {"model": STUB, "input": "Why? <>"} | more
                return ask(f"{base}/v1/responses", "POST", body, authorization=f"Bearer {token}")

            anns = post("ann").json
            named = [{"role": "user", "content": "<>"}, {"type": "item_reference", "id": anns["output"][0]["id"]}]
            for more in ({"previous_response_id": anns["id"]}, {"input": named}):
                assert post("ann", **more).status == 200
                assert post("bob", **more).status == 400

    def test_an_unknown_one_is_named(self, official: OpenAI) -> None:
        for id in ("resp_" + "b" * 26, "resp_../x", "nothing"):
            with pytest.raises(openai.BadRequestError) as caught:
                official.responses.create(model=STUB, input="x", previous_response_id=id)
            assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")

    def test_input_items_come_in_pages(self, base: str, official: OpenAI) -> None:
        content: Any = [
            {"type": "input_text", "text": "a <>"},
            {"type": "input_image", "image_url": "data:image/png;base64,"},
        ]
        items: Any = [{"role": "user", "content": content}, *({"role": "user", "content": f"{n}"} for n in range(44))]
        response = official.responses.create(model=STUB, input=items)
        listed = list(official.responses.input_items.list(response.id, order="asc"))
        assert len(listed) == 45
        assert len({item.id for item in listed}) == 45
        page = ask(f"{base}/v1/responses/{response.id}/input_items?limit=2").json
        check(ResponseItemList, page)
        assert page["has_more"]
        assert page["data"][0]["content"][0]["text"] == "43"
        after = ask(f"{base}/v1/responses/{response.id}/input_items?limit=2&after={page['last_id']}").json
        assert after["data"][0]["content"][0]["text"] == "41"
        for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=nothing"):
            assert ask(f"{base}/v1/responses/{response.id}/input_items?{query}").status == 400


class TestAnswers:
    """Each the same plain and streamed."""

    @pytest.fixture(params=[False, True], ids=["plain", "streamed"])
    def stream(self, request: pytest.FixtureRequest) -> bool:
        return request.param

    def test_reasoning(self, base: str, stream: bool) -> None:
        reasoning, message = answered(base, "<think>", stream=stream)["output"]
        assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
        assert message["content"][0]["text"] == "so"
        reasoning, _ = answered(base, "<think>", stream=stream, reasoning={"summary": "auto"})["output"]
        assert reasoning["summary"] == [{"type": "summary_text", "text": "hm"}]

    def test_reasoning_goes_back_in_the_form_of_its_provider(
        self, base: str, provider: StubProvider, official: OpenAI, stream: bool
    ) -> None:
        first = answered(base, "<think>", stream=stream)
        assert "encrypted_content" not in json.dumps(first)
        official.responses.create(model=STUB, input="And?", previous_response_id=first["id"])
        assert asked_last(provider)[1]["reasoning_details"] == DETAILS
        alone = answered(base, "<think>", stream=stream, store=False, include=SEALED)
        items: Any = [{"role": "user", "content": "<think>"}, *alone["output"], {"role": "user", "content": "And?"}]
        official.responses.create(model=STUB, input=items, store=False)
        assert asked_last(provider)[1]["reasoning_details"] == DETAILS, "also without the server's memory"

    def test_a_refusal(self, base: str, stream: bool) -> None:
        for more in ({}, {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}}):
            shown = answered(base, "<no>", stream=stream, **more)
            assert shown["status"] == "completed"
            assert shown["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]

    def test_a_custom_tool(self, base: str, provider: StubProvider, official: OpenAI, stream: bool) -> None:
        tool: Any = {"type": "custom", "name": "g"}
        first = answered(base, "<custom>", stream=stream, tools=[tool])
        (call,) = first["output"]
        assert (call["type"], call["input"], call["call_id"]) == ("custom_tool_call", "free", "call_2")
        output: Any = {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"}
        official.responses.create(model=STUB, input=[output], previous_response_id=first["id"], tools=[tool])
        assert asked_last(provider)[1]["tool_calls"] == [CUSTOM]

    def test_logprobs(self, base: str, provider: StubProvider, stream: bool) -> None:
        shown = answered(base, "<tokens>", stream=stream, include=["message.output_text.logprobs"], top_logprobs=2)
        assert shown["output"][0]["content"][0]["logprobs"] == [TOKEN]
        assert (provider.bodies[-1]["logprobs"], provider.bodies[-1]["top_logprobs"]) == (True, 2)
        assert answered(base, "<tokens>", stream=stream)["output"][0]["content"][0]["logprobs"] == []
