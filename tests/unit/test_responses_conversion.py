"""Bodies of the Responses API become chat-completions bodies, and completions become Response objects."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList
from openai_types import check

from headrace.chat.completion import Completion, Usage
from headrace.chat.responses_items import input_items, references
from headrace.chat.responses_messages import SEALED, messages_of, seal, unseal
from headrace.chat.responses_object import response_object
from headrace.chat.responses_request import chat_body
from headrace.errors import Failure, InputError, UnknownField

LETTERS = "a" * 26
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "openai/gpt", "input": "Why?"} | fields


def call(name: str = "f", id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": "{}"}


def output(id: str = "c1", text: Any = "42") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


def completion(**fields: Any) -> Completion:
    base: dict[str, Any] = {"id": "x", "model": "gpt", "created": 1, "content": "Because.", "finish_reason": "stop"}
    return Completion(**base | {"usage": Usage(3, 2, 1, 1)} | fields)


class TestABody:
    def test_a_text_is_one_message_after_the_instructions(self) -> None:
        chat = chat_body(body(instructions="Be brief."))
        assert chat["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
        ]

    def test_options_get_their_names_in_a_chat(self) -> None:
        chat = chat_body(
            body(
                max_output_tokens=7,
                reasoning={"effort": "low", "summary": "auto"},
                text={
                    "verbosity": "high",
                    "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
                },
                include=["message.output_text.logprobs"],
                top_logprobs=2,
                metadata={"a": "b"},
                store=True,
            )
        )
        assert chat == {
            "model": "openai/gpt",
            "messages": [{"role": "user", "content": "Why?"}],
            "max_completion_tokens": 7,
            "reasoning_effort": "low",
            "verbosity": "high",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "logprobs": True,
            "top_logprobs": 2,
        }

    def test_tools_and_the_choice_of_some(self) -> None:
        custom = {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}
        chat = chat_body(body(tools=[TOOL, custom], tool_choice={"type": "custom", "name": "g"}))
        grammar = {"type": "grammar", "grammar": {"definition": "a+", "syntax": "regex"}}
        assert chat["tools"] == [
            {"type": "function", "function": {"name": "f", "parameters": TOOL["parameters"]}},
            {"type": "custom", "custom": {"name": "g", "format": grammar}},
        ]
        assert chat["tool_choice"] == {"type": "custom", "custom": {"name": "g"}}
        some = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
        chat = chat_body(body(tools=[TOOL, custom], tool_choice=some))
        assert [tool["type"] for tool in chat["tools"]] == ["function"]
        assert chat["tool_choice"] == "required"

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"tools": [{"type": "web_search"}]}, "/tools/0/type:"),
            ({"conversation": "conv_1"}, "/conversation:"),
            ({"prompt": {"id": "p"}}, "/prompt:"),
            ({"previous_response_id": "resp_x"}, "/previous_response_id:"),
            ({"tool_choice": "required"}, "/tool_choice:"),
            ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "/tool_choice/name:"),
            ({"input": []}, "/input:"),
            ({"input": None}, "/input:"),
            ({"input": 3}, "/input:"),
            ({"input": [{"type": "web_search_call"}]}, "/input/0/type:"),
            ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "/input/0/content/0/type:"),
            (
                {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
                "/input/0/content/0/file_id:",
            ),
            ({"input": [{"role": "tool", "content": "x"}]}, "/input/0/role:"),
            ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "/input/0/id:"),
            ({"input": [output()]}, "/input:"),
            ({"input": [call()]}, "/input:"),
            ({"metadata": {f"k{n}": "v" for n in range(17)}}, "/metadata:"),
            ({"metadata": {"k" * 65: "v"}}, "/metadata:"),
            ({"metadata": {"k": 1}}, "/metadata:"),
            ({"include": ["everything"]}, "/include/0:"),
            ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "/text/format/name:"),
            ({"text": {"tone": "x"}}, "/text/tone:"),
            ({"background": True, "store": False}, "/background:"),
            ({"stream_options": {"include_obfuscation": False}}, "/stream_options:"),
            ({"max_output_tokens": 0}, "/max_output_tokens:"),
            ({"temperature": True}, "/temperature:"),
            ({"model": None}, "/model:"),
        ],
    )
    def test_what_is_wrong_is_named_by_its_place(self, fields: dict[str, Any], place: str) -> None:
        with pytest.raises(InputError) as caught:
            chat_body(body(**fields))
        assert str(caught.value).startswith(place)

    def test_an_unknown_field_is_named(self) -> None:
        with pytest.raises(UnknownField, match=r"^/frequency_penalty:"):
            chat_body(body(frequency_penalty=1))


class TestItems:
    def test_one_turn_is_one_message(self) -> None:
        items = input_items(
            [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}],
                },
                {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
                call(),
                call("g", "c2"),
                output("c2"),
                output(),
                {"role": "assistant", "content": "done"},
            ]
        )
        calls = [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]
        assert messages_of(items) == [
            {"role": "user", "content": "a"},
            {"role": "assistant", "reasoning_content": "hm", "content": "b", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c2", "content": "42"},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "assistant", "content": "done"},
        ]

    def test_a_thought_between_two_calls_belongs_to_their_turn(self) -> None:
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
        (turn, *_) = messages_of(input_items([thought, call(), thought, call("g", "c2"), output(), output("c2")]))
        assert len(turn["tool_calls"]) == 2
        assert turn["reasoning_content"] == "hmhm"

    def test_images_and_files_are_parts(self) -> None:
        content = [
            {"type": "input_text", "text": "what?"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        ]
        (message,) = messages_of(input_items([{"role": "user", "content": content}]))
        assert message["content"] == [
            {"type": "text", "text": "what?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ]

    def test_every_kind_is_listed_in_its_official_form(self) -> None:
        custom = {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"}
        content = [
            {"type": "input_text", "text": "what?"},
            {"type": "input_image", "image_url": "https://example.org/a.png"},
            {"type": "input_file", "file_data": "data:,"},
        ]
        said = [
            {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "b"},
        ]
        items = input_items(
            [
                {"role": "developer", "content": "x"},
                {"role": "user", "content": content},
                {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                {"role": "assistant", "content": said, "phase": "final_answer"},
                *(call(), custom, output(), {"type": "custom_tool_call_output", "call_id": "c2", "output": content}),
            ],
            LETTERS,
        )
        assert len({item["id"] for item in items}) == len(items)
        page = {"object": "list", "data": items, "first_id": "a", "last_id": "b", "has_more": False}
        check(ResponseItemList, page)

    def test_a_reference_is_the_item_that_it_names(self) -> None:
        known = {"msg_1": {"id": "msg_1", "type": "message", "role": "user", "status": "completed", "content": []}}
        assert references([{"type": "item_reference", "id": "msg_1"}, {"id": "x"}, {"role": "user"}]) == ["msg_1", "x"]
        assert input_items([{"id": "msg_1"}], known=known) == [known["msg_1"]]

    def test_a_providers_reasoning_is_sealed_and_comes_back(self) -> None:
        sealed = seal({"reasoning_details": [{"signature": "s"}], "content": "x"})
        assert unseal(sealed) == {"reasoning_details": [{"signature": "s"}]}
        assert seal({"content": "x"}) is None
        many = SEALED + base64.b64encode(b'{"reasoning_details":[' + b"[]," * 100_000 + b"[]]}").decode()
        items = input_items([{"type": "reasoning", "summary": [], "encrypted_content": many}])
        with pytest.raises(InputError, match="encrypted_content"):
            messages_of(items)
        for foreign in (None, "gAAAA", "headrace1.%%%", "headrace1.AAAA", "headrace1.WzFd"):
            assert unseal(foreign) == {}


class TestAnObject:
    def test_an_answer(self) -> None:
        shown = response_object(
            body(metadata={"a": "b"}, tools=[TOOL]),
            f"resp_{LETTERS}",
            created_at=5,
            completed_at=6,
            completion=completion(),
        )
        response = check(Response, shown)
        assert response.output_text == "Because."
        assert (response.status, response.completed_at, response.error) == ("completed", 6, None)
        assert response.usage
        assert response.usage.total_tokens == 5
        assert response.output[0].id == f"msg_{LETTERS}"

    def test_a_value_is_its_text(self) -> None:
        shown = response_object(
            body(), f"resp_{LETTERS}", created_at=5, completion=completion(content="x", value={"a": 1}, mode="strict")
        )
        assert check(Response, shown).output_text == '{"a":1}'

    def test_calls_and_reasoning(self) -> None:
        calls = [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "i"}},
        ]
        said = completion(content=None, tool_calls=calls, reasoning="hm", finish_reason="tool_calls")
        shown = response_object(body(), f"resp_{LETTERS}", created_at=5, completion=said)
        assert [item["type"] for item in shown["output"]] == ["reasoning", "function_call", "custom_tool_call"]
        assert shown["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
        asked = body(reasoning={"summary": "auto"})
        shown = response_object(asked, f"resp_{LETTERS}", created_at=5, completion=said)
        assert shown["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]

    def test_what_is_cut_is_incomplete(self) -> None:
        shown = response_object(body(), f"resp_{LETTERS}", created_at=5, completion=completion(finish_reason="length"))
        assert shown["status"] == shown["output"][0]["status"] == "incomplete"
        assert shown["incomplete_details"] == {"reason": "max_output_tokens"}

    @pytest.mark.parametrize(
        ("code", "status", "error"),
        [
            ("rate_limited", "failed", "rate_limit_exceeded"),
            ("provider_error", "failed", "server_error"),
            ("cancelled", "cancelled", None),
            ("truncated", "incomplete", None),
            ("refusal", "completed", None),
        ],
    )
    def test_a_failure(self, code: str, status: str, error: str | None) -> None:
        shown = response_object(body(), f"resp_{LETTERS}", created_at=5, failure=Failure(code, "why", partial="no"))
        check(Response, shown)
        assert shown["status"] == status
        assert (shown["error"] or {}).get("code") == error

    def test_what_was_paid_for_an_answer_of_no_use_is_told(self) -> None:
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        failure = Failure("truncated", "cut", partial="{", metadata={"usage": usage})
        shown = response_object(body(), f"resp_{LETTERS}", created_at=5, failure=failure)
        assert check(Response, shown).usage.total_tokens == 7
        for metadata in ({}, {"usage": None}, {"usage": {"prompt_tokens": "x"}}):
            unknown = response_object(
                body(), "resp_x", created_at=5, failure=Failure("truncated", "cut", metadata=metadata)
            )
            assert unknown["usage"] is None

    def test_unknown_tokens_are_not_made_up(self) -> None:
        shown = response_object(body(), "resp_x", created_at=5, completion=completion(usage=Usage(unknown=True)))
        assert shown["usage"] is None
