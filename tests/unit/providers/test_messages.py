"""Conversations: the shapes of messages and parts, and what is refused before anything is sent."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from headrace.chat.messages import (
    assistant,
    assistant_reasoning,
    assistant_tool_calls,
    audio,
    conversation,
    file,
    image,
    system,
    text,
    tool,
    tool_call,
    user,
    video,
)
from headrace.errors import InputError

URL = "https://example.org/a.png"


def test_c046_system_list_prefilling() -> None:
    given = [user("q", image(URL)), assistant("a"), user("r")]
    before = copy.deepcopy(given)
    talk = conversation(given, system_prompt="s", prefilling="p")
    assert talk == [system("s"), *before, {"role": "assistant", "content": "p"}]
    talk[1]["content"][0]["text"] = "changed"
    talk[1]["content"][1]["image_url"]["url"] = "changed"
    assert given == before


def test_c047_empty_prefilling_adds_nothing() -> None:
    assert conversation("q", prefilling="") == [{"role": "user", "content": "q"}]


def test_c049_tuple_of_dicts_with_system_prompt() -> None:
    assert conversation((user("q"),), system_prompt="s") == [system("s"), user("q")]


@pytest.mark.parametrize("given", [None, {"role": "user", "content": "q"}, 5, b"q", {1}, object()])
def test_c050_refuses_values_that_are_no_conversation(given: Any) -> None:
    with pytest.raises(InputError, match=r"^/messages: "):
        conversation(given)


def test_c051_user_with_media() -> None:
    media = [image("u", detail="low"), audio("d", "wav"), file("n", "fd"), video("v")]
    assert user("q", media) == {
        "role": "user",
        "content": [
            {"type": "text", "text": "q"},
            {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
            {"type": "file", "file": {"filename": "n", "file_data": "fd"}},
            {"type": "video_url", "video_url": {"url": "v"}},
        ],
    }


def test_c052_without_text_only_the_media() -> None:
    assert user("", image("u"))["content"] == [image("u")]


def test_c053_assistant_tool_calls_with_and_without_reasoning() -> None:
    calls = [tool_call("1", "f", "{}")]
    assert assistant_tool_calls(calls, reasoning="r") == {
        "role": "assistant",
        "reasoning_content": "r",  # never `<think>` in the content: a model would take it for what it said
        "tool_calls": calls,
    }
    assert assistant_tool_calls(calls) == {"role": "assistant", "tool_calls": calls}
    assert assistant_tool_calls(calls, "r", text="t")["content"] == "t"
    assert assistant_tool_calls(calls, "r", field="reasoning")["reasoning"] == "r"


def test_d019_a_system_prompt_that_is_no_text_is_refused_an_empty_one_kept() -> None:
    wrong: Any = ["s"]
    with pytest.raises(InputError, match=r"^system_prompt: must be a text, not list"):
        conversation("q", system_prompt=wrong)
    with pytest.raises(InputError, match=r"^prefilling: "):
        conversation("q", prefilling=wrong)
    assert conversation("q", system_prompt="") == [{"role": "system", "content": ""}, user("q")]


def test_several_images_lie_flat_among_the_parts() -> None:
    several = image(["a", "b"], detail="high")
    assert [part["image_url"] for part in several] == [{"url": "a", "detail": "high"}, {"url": "b", "detail": "high"}]
    assert user("q", [several, video("v")])["content"] == [text("q"), *several, video("v")]
    assert user("q", several)["content"] == [text("q"), *several]
    assert user([text("q"), text("r")], image("u"))["content"] == [text("q"), text("r"), image("u")]


def test_the_shapes_of_what_the_assistant_and_tools_say() -> None:
    assert assistant({"a": "ü"}) == {"role": "assistant", "content": '{"a":"ü"}'}
    assert assistant("x") == {"role": "assistant", "content": "x"}
    assert assistant_reasoning("c", "r") == {"role": "assistant", "content": "c", "reasoning_content": "r"}
    assert tool("1", "c") == {"role": "tool", "tool_call_id": "1", "content": "c"}
    assert tool_call("1", "f", "{}") == {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_an_empty_text_is_one_user_message() -> None:
    assert conversation("") == [{"role": "user", "content": ""}]


def test_a_system_message_of_the_callers_own_stays_after_the_system_prompt() -> None:
    assert conversation([system("own"), user("q")], system_prompt="s") == [system("s"), system("own"), user("q")]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "developer", "content": "d"},
        {"role": "user", "name": "ada", "content": [text("a") | {"cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AA=="}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
        {"role": "assistant", "content": None, "tool_calls": [tool_call("1", "f", "{}")]},
        {"role": "assistant", "audio": {"id": "audio-1"}},
        {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"role": "tool", "tool_call_id": "1", "content": [text("a")]},
        {"role": "function", "name": "f", "content": "1"},
    ],
)
def test_passes_valid_messages_unchanged(message: dict[str, Any]) -> None:
    assert conversation([user("q"), message]) == [user("q"), message]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("q", "/messages/1"),
        (None, "/messages/1"),
        ({"content": "q"}, "/messages/1/role"),
        ({"role": "User", "content": "q"}, "/messages/1/role"),
        ({"role": ["user"], "content": "q"}, "/messages/1/role"),
        ({"role": "user"}, "/messages/1/content"),
        ({"role": "user", "content": None}, "/messages/1/content"),
        ({"role": "user", "content": 5}, "/messages/1/content"),
        ({"role": "user", "content": {"type": "text", "text": "q"}}, "/messages/1/content"),
        ({"role": "user", "content": []}, "/messages/1/content"),
        ({"role": "user", "content": ["q"]}, "/messages/1/content/0"),
        ({"role": "user", "content": [text("q"), {"type": "movie"}]}, "/messages/1/content/1/type"),
        ({"role": "user", "content": [{"text": "q"}]}, "/messages/1/content/0/type"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "/messages/1/content/0/text"),
        ({"role": "user", "content": [{"type": "image_url", "url": "u"}]}, "/messages/1/content/0/image_url"),
        ({"role": "assistant", "content": None}, "/messages/1/content"),
        ({"role": "assistant", "tool_calls": []}, "/messages/1/content"),
        ({"role": "assistant", "tool_calls": "f()"}, "/messages/1/tool_calls"),
        ({"role": "assistant", "tool_calls": ["f()"]}, "/messages/1/tool_calls"),
        ({"role": "tool", "content": "1"}, "/messages/1/tool_call_id"),
        ({"role": "tool", "tool_call_id": "", "content": "1"}, "/messages/1/tool_call_id"),
        ({"role": "tool", "tool_call_id": "1"}, "/messages/1/content"),
        ({"role": "function", "content": "1"}, "/messages/1/name"),
    ],
)
def test_a_complaint_names_its_place(message: Any, place: str) -> None:
    with pytest.raises(InputError) as refused:
        conversation([user("q"), message])
    assert str(refused.value).partition(":")[0] == place


def test_an_empty_list_is_no_conversation_but_a_system_prompt_alone_is() -> None:
    with pytest.raises(InputError, match="is empty"):
        conversation([])
    assert conversation([], system_prompt="s") == [system("s")]


def test_content_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be written as JSON"):
        assistant(object())
