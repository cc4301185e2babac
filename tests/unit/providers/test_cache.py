"""The cache of a provider class (statements 128 to 136): the same question is paid once, and what is kept."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, T, answer, ask, call_of, model_of
from headrace_providers import ChatCompletion
from headrace_providers.cache import MemoryCache

from headrace.chat.tools import ToolDefinitions
from headrace.errors import CallError
from headrace.flows.react import ReAct
from headrace.portal import run

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)

DOWN = CallError("provider_unavailable", "500", status=500)


class P(msgspec.Struct):
    a: int


def remembering(*script: Any, **words: Any) -> tuple[ChatCompletion, FakeTransport]:
    transport = FakeTransport(*script)
    return model_of("openai", transport, **{"enable_cache": True, "retry": False, **words}), transport


@pytest.mark.parametrize(
    ("content", "call"),
    [
        pytest.param("hi", {}, id="c128-text"),
        pytest.param("<a>1</a>", {"typed_parser": "typed_xml"}, id="c128-parser"),
        pytest.param("hi", {"prefilling": "p"}, id="c128-prefilling"),
        pytest.param('{"a":1}', {"generation_schema": P}, id="c129-schema"),
        pytest.param("hi", {"tool_definitions": ToolDefinitions(schemas=[T])}, id="c129-tools"),
        pytest.param(
            '{"thought":"t","actions":null,"final_answer":"a"}', {"generation_schema": ReAct}, id="c129-react"
        ),
        pytest.param("hi", {"tool_definitions": ToolDefinitions()}, id="c129-no-tools"),
    ],
)
def test_c128_c129_the_same_question_is_paid_once(form: str, content: str, call: dict[str, Any]) -> None:
    model, transport = remembering(answer(content))
    first, second = ask(model, form, **call), ask(model, form, **call)
    assert len(transport.requests) == 1
    info = model.cache_info()
    assert (info.hits, info.misses, info.currsize) == (1, 1, 1)
    assert (first.data, first.cached, second.data, second.cached) == (second.data, False, first.data, True)


def test_c130_another_question_is_another(form: str) -> None:
    cache, transport = MemoryCache(), FakeTransport()
    questions: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"temperature": 0}, {}),
        ({"temperature": 0.5}, {}),
        ({"extra_body": {"a": 1}}, {}),
        ({"base_url": "http://other/v1"}, {}),
        ({"tenant": "b"}, {}),
        ({"return_reasoning": False}, {}),
        ({}, {"system_prompt": "s"}),
        ({}, {"prefilling": "p"}),
    ]
    for words, call in questions:
        ask(model_of("openai", transport, cache=cache, **words), form, **call)
    assert len(transport.requests) == len(questions)
    ask(model_of("vllm", transport, cache=cache, base_url="https://api.openai.com/v1"), form)
    assert len(transport.requests) == len(questions) + 1


def test_c131_a_schema_is_more_than_its_name(form: str) -> None:
    model, transport = remembering(answer("<a>1</a>"))
    for fields in ([("a", str)], [("b", str)]):
        schema = msgspec.defstruct("Same", fields)
        ask(model, form, generation_schema=schema, typed_parser="typed_xml")
    assert len(transport.requests) == 2


def test_c132_a_hit_is_a_copy(form: str) -> None:
    model, _ = remembering(answer(None, finish="tool_calls", tool_calls=[call_of()]))
    first = ask(model, form)
    first.data.insert_results({"call_1": "changed"})
    first.metadata["usage"]["prompt_tokens"] = 99
    second = ask(model, form)
    assert second.metadata["usage"]["prompt_tokens"] == 3
    assert "no result" in second.data.get_messages()[1]["content"]


def test_c133_the_least_recently_used_goes_first(form: str) -> None:
    model, transport = remembering(cache_size=2)
    for question in ("a", "b", "a", "c", "a"):
        ask(model, form, question)
    assert len(transport.requests) == 3
    ask(model, form, "b")
    assert len(transport.requests) == 4

    async def overwrite() -> list[bytes | None]:
        cache = MemoryCache(2)
        for key in ("a", "b", "b"):
            await cache.set(key, key.encode())
        return [await cache.get("a"), await cache.get("b")]

    assert run(overwrite()) == [b"a", b"b"]


@pytest.mark.parametrize(("size", "asked"), [(0, 3), (None, 1)])
def test_c134_no_size_is_no_cache_and_none_is_no_bound(form: str, size: int | None, asked: int) -> None:
    model, transport = remembering(cache_size=size)
    for _ in range(3):
        assert ask(model, form).data == "hi"
    assert len(transport.requests) == asked


@pytest.mark.parametrize(
    "script",
    [
        answer("half", finish="length"),
        answer("half", finish="content_filter"),
        answer(None, refusal="No."),
        answer(None),
        DOWN,
    ],
)
def test_c135_does_not_cache_incomplete_answers(form: str, script: Any) -> None:
    model, transport = remembering(script)
    for _ in range(2):
        try:
            ask(model, form)
        except CallError:
            assert script is DOWN
    assert len(transport.requests) == 2
    assert model.cache_info().currsize == 0


def test_c136_clear_forgets_everything(form: str) -> None:
    model, transport = remembering()
    ask(model, form)
    model.cache_clear()
    assert model.cache_info()[:2] + model.cache_info()[3:] == (0, 0, 0)
    ask(model, form)
    assert len(transport.requests) == 2


def test_d087_those_who_ask_at_once_pay_once(form: str) -> None:
    model, transport = remembering([0.2, answer()])
    if form == "sync":
        threads = [threading.Thread(target=model, args=("x",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    else:

        async def together() -> None:
            await asyncio.gather(*(model.acall("x") for _ in range(8)))

        run(together())
    assert len(transport.requests) == 1


def test_d087_a_kept_answer_ends(form: str) -> None:
    async def late() -> bytes | None:
        cache = MemoryCache(ttl_s=0)
        await cache.set("a", b"a")
        await asyncio.sleep(0.01)
        return await cache.get("a")

    assert run(late()) is None
