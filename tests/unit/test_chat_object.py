"""The `chat.completion` object of any completion is of OpenAI's type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion
from openai_types import check

from headrace.chat.chat_object import chat_object
from headrace.chat.completion import Choice, Completion, Usage

BESIDE = frozenset({"reasoning_content", "reasoning_details", "images", "citations", "extra"})
PLAIN = Completion(id="x", model="m", created=1, content="Hi", finish_reason="stop", usage=Usage(3, 4))


def made(**fields: Any) -> dict[str, Any]:
    body = chat_object(msgspec.structs.replace(PLAIN, **fields))
    check(ChatCompletion, body, BESIDE)
    return body


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_a_finish_reason_of_openais_is_kept(reason: str) -> None:
    assert made(finish_reason=reason)["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("reason", ["error", "eos", ""])
def test_any_other_is_a_stop(reason: str) -> None:
    assert made(finish_reason=reason)["choices"][0]["finish_reason"] == "stop"


def test_a_value_is_the_content_and_other_choices_stand_beside_it() -> None:
    other = Choice(content='{"n": 2}', finish_reason="length", logprobs={"content": []}, reasoning="hm")
    body = made(content='{"n":1}', value={"n": 1}, mode="strict", other_choices=[other], cost=0.0)
    assert [choice["message"]["content"] for choice in body["choices"]] == ['{"n":1}', '{"n": 2}']
    assert body["choices"][1]["logprobs"] == {"content": [], "refusal": None}
    assert body["choices"][1]["message"]["reasoning_content"] == "hm"
    assert body["extra"] == {"cost": 0.0, "mode": "strict"}


def test_what_a_provider_wants_back_stays_where_it_stood() -> None:
    extra = {"message": {"thought_signature": "s"}, "choice": {"token_ids": [1]}, "answer": {"search": [2]}}
    body = chat_object(msgspec.structs.replace(PLAIN, extra=extra))
    assert (body["search"], body["choices"][0]["token_ids"]) == ([2], [1])
    assert body["choices"][0]["message"]["thought_signature"] == "s"


def test_unknown_usage_is_none_and_details_only_where_there_are_some() -> None:
    assert made(usage=Usage(3, 4, unknown=True))["usage"] is None
    assert made()["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert made(usage=Usage(3, 4, 2, 1))["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}


@pytest.mark.parametrize(("tier", "kept"), [("flex", True), ("on_demand", False), (None, False)])
def test_a_tier_that_openai_has_is_passed_on(tier: str | None, kept: bool) -> None:
    assert ("service_tier" in made(service_tier=tier)) is kept
