"""The shapes of real servers: an empty field is no field, a text that came is never dropped, a contradiction is a failure."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FORMS, USAGE, FakeTransport, answer, ask, call_of, model_of, piece

from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace.portal import run


def complete(*chunks: Any, stream: bool = True, n: int | None = None) -> tuple[Completion, list[Any]]:
    """The completion, and the texts that were shown on the way."""
    heard: list[Any] = []
    model = model_of("openai", FakeTransport(list(chunks)), retry=False, extra_body={"n": n} if n else None)
    job = Job(model="openai/m", messages=[{"role": "user", "content": "x"}], stream=stream, options=model.options)
    completion = run(
        model.complete(job, on_delta=lambda delta: heard.append(delta.value) if delta.kind == "text" else None)
    )
    return completion, heard


def fails(*chunks: Any, **words: Any) -> CallError:
    with pytest.raises(CallError) as raised:
        complete(*chunks, **words)
    return raised.value


def both(delta: str | None, message: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with a whole message beside its delta, as Perplexity's."""
    chunk = piece(finish, **({} if delta is None else {"content": delta}))
    chunk["choices"][0]["message"] = {"role": "assistant", "content": message, **more}
    return chunk


def test_a_message_beside_each_delta_is_the_same_text() -> None:
    completion, heard = complete(both("he", "he"), both("llo", "hello"), both("", "hello", "stop"))
    assert (completion.content, heard) == ("hello", ["he", "llo"])


def test_keeps_text_that_only_the_last_message_has() -> None:
    completion, heard = complete(piece(content="he"), both(None, "hello", "stop"))
    assert (completion.content, heard) == ("hello", ["he", "llo"])
    completion, heard = complete(both(None, "he"), both(None, "hello", "stop"))
    assert (completion.content, "".join(heard)) == ("hello", "hello")
    called = both(None, "he", "tool_calls", tool_calls=[call_of()])
    assert complete(piece(content="he"), called)[0].tool_calls == [call_of()]
    twice = piece(tool_calls=[{"index": 0, **call_of()}])
    assert complete(twice, called | {})[0].tool_calls == [call_of()]


@pytest.mark.parametrize(
    "chunks",
    [
        (both("he", "he"), both("llo", "something else", "stop")),
        (both("", "he"), both("", "llo", "stop")),
        (piece(content="he"), both(None, "no", "stop")),
        (piece(tool_calls=[{"index": 0, **call_of("g")}]), both(None, "", "tool_calls", tool_calls=[call_of("f")])),
    ],
)
def test_a_message_that_says_something_else_is_a_failure(chunks: tuple[Any, ...]) -> None:
    error = fails(*chunks)
    assert (error.code, error.retryable) == ("provider_error", False)
    assert "contradicts itself" in str(error)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("content", "text", "reasoning", "refusal"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"text": "so"}], "so", "why", None),
        ([{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "so"}], "so", "why", None),
        ([{"type": "reasoning", "text": "why"}, {"text": "so"}], "so", "why", None),
        ([{"type": "output_text", "text": "so", "annotations": []}], "so", None, None),
        ([{"text": "s"}, "o"], "so", None, None),
        ([{"type": "text", "text": {"value": "so"}}], "so", None, None),
        ([{"type": "text", "content": "so"}], "so", None, None),
        ([{"type": "a new kind", "text": "so"}], "so", None, None),
        ({"type": "text", "text": "so"}, "so", None, None),
        ([{"type": "refusal", "refusal": "No."}], "", None, "No."),
        ([None, {"type": "text", "text": None}, {"type": "text", "text": "so"}], "so", None, None),
    ],
)  # fmt: skip
def test_parts_of_content(form: str, content: Any, text: str, reasoning: str | None, refusal: str | None) -> None:
    response = ask(model_of("openai", FakeTransport(answer(content))), form)
    assert (response.data, response.reasoning) == (text or refusal, reasoning)
    assert response.metadata.get("refusal") == refusal


@pytest.mark.parametrize("stream", [False, True])
def test_parts_that_hold_no_text_are_kept(stream: bool) -> None:
    odd = {"type": "reference", "reference_ids": [1]}
    chunks = [answer([{"type": "text", "text": "so"}, odd])]
    if stream:
        chunks = [piece(content=[{"type": "text", "text": "so"}]), piece(content=[odd]), piece("stop")]
    completion, _ = complete(*chunks, stream=stream)
    assert (completion.content, completion.raw["content"]) == ("so", [odd])


ZERO_CUSTOM = {"name": "", "input": ""}


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_custom_beside_a_function_is_none(form: str) -> None:
    call = call_of("f", '{"x":1}') | {"custom": ZERO_CUSTOM}
    (made,) = ask(model_of("openai", FakeTransport(answer(None, tool_calls=[call]))), form).data.get_calls()
    assert (made.type, made.name, made.arguments) == ("function", "f", {"x": 1})
    call = {
        "id": "a",
        "type": "custom",
        "function": {"name": "", "arguments": ""},
        "custom": {"name": "sh", "input": "ls"},
    }
    (made,) = ask(model_of("openai", FakeTransport(answer(None, tool_calls=[call]))), form).data.get_calls()
    assert (made.type, made.name, made.raw) == ("custom", "sh", "ls")


@pytest.mark.parametrize("form", FORMS)
def test_a_call_that_is_two_things_is_a_failure(form: str) -> None:
    call = call_of("f", "{}") | {"custom": {"name": "sh", "input": "ls"}}
    with pytest.raises(CallError, match="at once"):
        ask(model_of("openai", FakeTransport(answer(None, tool_calls=[call])), retry=False), form)


@pytest.mark.parametrize("form", FORMS)
def test_a_call_said_in_both_ways_is_one(form: str) -> None:
    legacy = {"name": "f", "arguments": '{"x":1}'}
    script = answer(None, tool_calls=[call_of("f", '{"x":1}')], function_call=legacy)
    assert len(ask(model_of("openai", FakeTransport(script)), form).data.get_calls()) == 1


def calls_of(*deltas: Any) -> list[tuple[str, str]]:
    chunks = [piece(tool_calls=delta if isinstance(delta, list) else [delta]) for delta in deltas]
    completion, _ = complete(*chunks, piece("tool_calls"))
    return [(call["function"]["name"], call["function"]["arguments"]) for call in completion.tool_calls]


def part(arguments: str | None = None, name: str | None = None, index: Any = 0, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"function": function, **({} if index is None else {"index": index}), **more}


def test_calls_without_id_at_one_index() -> None:
    assert calls_of(part('{"x":1}', "f"), part('{"y":2}', "g")) == [("f", '{"x":1}'), ("g", '{"y":2}')]
    assert calls_of(part('{"x":1}', "f"), part('{"x":2}', "f")) == [("f", '{"x":1}'), ("f", '{"x":2}')]
    pieces = (part('{"x"', "f"), part(":1}", ""), part('{"y"', "f"), part(":2}"))
    assert calls_of(*pieces) == [("f", '{"x":1}'), ("f", '{"y":2}')]
    assert calls_of(part('{"x"', "f"), part(":1}", "f")) == [("f", '{"x":1}')]  # the name in every piece


def test_the_number_of_a_call_may_be_a_text() -> None:
    turns = ([part("", "f", "0"), part("", "g", "1")], part('{"y":2}', None, "1"), part('{"x":1}', None, 0.0))
    assert calls_of(*turns) == [("f", '{"x":1}'), ("g", '{"y":2}')]
    error = fails(piece(tool_calls=[part("", "f", "first")]), piece("tool_calls"))
    assert "index must be a number" in str(error)


@pytest.mark.parametrize("id", [None, "a"])
@pytest.mark.parametrize("last", ['{"x": 1}', '{"x":1}', '{"x":1}\n'.strip()])
@pytest.mark.parametrize("name", [None, "f"])
def test_arguments_said_again_in_the_last_chunk_are_said_once(id: str | None, last: str, name: str | None) -> None:
    more = {"id": id} if id else {}
    pieces = (part("", "f", **more), part('{"x": ', **more), part("1}", **more), part(last, name, **more))
    assert calls_of(*pieces) == [("f", '{"x": 1}')]


def test_a_name_that_changes_within_arguments_is_a_failure() -> None:
    error = fails(piece(tool_calls=[part('{"x"', "f")]), piece(tool_calls=[part(":1}", "g")]), piece("tool_calls"))
    assert error.code == "provider_error"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("index", [1, 7, None, "0", 0.5])
def test_a_single_choice_is_the_first_whatever_its_number(form: str, index: Any) -> None:
    script = answer("hello")
    script["choices"][0]["index"] = index
    assert ask(model_of("openai", FakeTransport(script)), form).data == "hello"


def test_a_choice_that_begins_at_one_is_shown_as_it_comes() -> None:
    chunks = [piece(content="he"), piece(content="llo"), piece("stop")]
    for chunk in chunks:
        chunk["choices"][0]["index"] = 1
    completion, heard = complete(*chunks)
    assert (completion.content, heard, completion.other_choices) == ("hello", ["he", "llo"], [])


def test_two_whole_choices_with_one_number_are_two() -> None:
    script = answer("one")
    script["choices"].append(answer("two")["choices"][0])
    completion, _ = complete(script, stream=False, n=2)
    assert (completion.content, [choice.content for choice in completion.other_choices]) == ("one", ["two"])


def test_two_choices_glued_in_a_stream_are_a_failure() -> None:
    glued = piece(content="one")
    glued["choices"].append(piece(content="two")["choices"][0])
    assert "contradicts itself" in str(fails(glued, piece("stop"), n=2))
    again = (
        piece(role="assistant", content="one"),
        piece("stop"),
        piece(role="assistant", content="two"),
        piece("stop"),
    )
    assert "two answers in one choice" in str(fails(*again, n=2))


def test_two_choices_in_turns_are_two() -> None:
    def of(index: int, finish: str | None = None, **delta: Any) -> dict[str, Any]:
        chunk = piece(finish, **delta)
        chunk["choices"][0]["index"] = index
        return chunk

    completion, heard = complete(
        of(1, content="b"), of(0, content="a"), of(0, "stop"), of(1, content="B"), of(1, "stop"), n=2
    )
    assert (completion.content, heard, completion.other_choices[0].content) == ("a", ["a"], "bB")


@pytest.mark.parametrize("reason", ["", "null", "None"])
def test_a_reason_that_is_none(reason: str) -> None:
    done = None
    completion, _ = complete(piece(reason, content="he"), piece("length", content="llo"))
    assert (completion.content, completion.finish_reason) == ("hello", "length")
    assert fails(piece(reason, content="he")).code == "incomplete_stream"
    completion, _ = complete(piece(reason, content="he"), {"id": "c", "choices": [], "usage": USAGE}, done)
    assert (completion.finish_reason, completion.notes) == ("stop", ["finish_reason: stop is inferred"])


def test_the_text_of_the_older_api() -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]}
    assert complete(chunk)[0].content == "hello"
