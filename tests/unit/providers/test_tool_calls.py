"""Turns that call tools: gathered from messages and deltas, answered, made into history."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.chat.tool_calls import ToolCalls
from headrace.errors import InputError


def call(id: str = "a", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def gathered(*calls: dict[str, Any], **message: Any) -> ToolCalls:
    found = ToolCalls()
    found.add_message({"role": "assistant", "content": None, "tool_calls": list(calls), **message})
    return found


def streamed(*deltas: list[dict[str, Any]]) -> ToolCalls:
    found = ToolCalls()
    for delta in deltas:
        found.add_delta(delta)
    return found


def said(found: ToolCalls) -> list[tuple[str, str, str]]:
    return [(made.id, made.name, made.raw) for made in found.get_calls()]


def test_c091_blank_arguments_are_none_at_all() -> None:
    first, second = gathered(call("a", arguments='{"x": 1}'), call("b", arguments=" ")).get_calls()
    assert (first.arguments, second.arguments) == ({"x": 1}, {})


@pytest.mark.parametrize("broken", ['{"x":', "[1]", "null", '"text"', "{'x': 1}", "[" * 100_000])
def test_c092_a_call_with_broken_arguments_carries_an_error_and_leaves_the_others_alone(broken: str) -> None:
    bad, good = gathered(call("a", arguments=broken), call("b", arguments='{"y": 2}')).get_calls()
    assert (bad.arguments, bad.raw) == (None, broken)
    assert bad.error
    assert (good.arguments, good.error) == ({"y": 2}, None)


def test_c093_a_call_without_a_result_is_answered_by_a_text_that_says_so() -> None:
    found = gathered(call("a"), call("b"))
    found.insert_results({"b": "two", "unknown": "ignored"})
    turn, first, second = found.get_messages()
    assert turn["tool_calls"] == [call("a"), call("b")]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("a", "b")
    assert "no result" in first["content"]
    assert second == {"role": "tool", "tool_call_id": "b", "content": "two"}


@pytest.mark.parametrize(("result", "content"), [({"t": 21}, '{"t":21}'), ("warm", "warm"), (None, "null"), (0, "0")])
def test_c094_a_result_that_is_no_text_is_written_as_json(result: Any, content: str) -> None:
    found = gathered(call())
    found.insert_results({"a": result})
    assert found.get_messages()[1]["content"] == content


def test_a_result_that_json_cannot_hold_is_refused_by_its_call() -> None:
    with pytest.raises(InputError, match="call a"):
        gathered(call()).insert_results({"a": object()})


def test_c095_text_and_reasoning_that_came_with_calls_go_into_the_history() -> None:
    turn = gathered(call(), content="One moment.", reasoning_content="Look it up.").get_messages()[0]
    assert (turn["content"], turn["reasoning_content"]) == ("One moment.", "Look it up.")
    assert "content" not in gathered(call()).get_messages()[0]


def test_c096_a_custom_call_is_kept_as_one() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    found = gathered(custom)
    (made,) = found.get_calls()
    assert (made.type, made.raw, made.arguments, made.error) == ("custom", "select 1", None, None)
    assert found.get_messages()[0]["tool_calls"] == [custom]


def test_d057_a_legacy_function_call_is_a_call() -> None:
    found = gathered(function_call={"name": "f", "arguments": '{"x":1}'})
    (made,) = found.get_calls()
    assert (made.name, made.arguments) == ("f", {"x": 1})
    assert made.id.startswith("call_")


def test_c112_every_delta_of_a_chunk_counts() -> None:
    two = streamed([{"index": 0, **call("a", "f", "{}")}, {"index": 1, **call("b", "g", "{}")}])
    assert said(two) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_c113_tolerates_deltas_with_missing_fields() -> None:
    found = streamed(
        [{"index": 0, "id": "a", "function": {"name": "f"}}],
        [{"index": 0, "function": {"arguments": None}}],
        [{"index": 0}],
        [{"index": 0, "function": {"arguments": '{"x":'}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
    )
    assert said(found) == [("a", "f", '{"x":1}')]
    assert said(streamed([])) == []


def test_c115_one_index_with_two_ids_is_two_calls() -> None:
    found = streamed(
        [{"index": 0, **call("a", "f", '{"x"')}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
        [{"index": 0, **call("b", "g", "{}")}],
    )
    assert said(found) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_d053_a_name_may_come_in_pieces() -> None:
    found = streamed(
        [{"index": 0, "id": "a", "function": {"name": "get_"}}], [{"index": 0, "function": {"name": "it"}}]
    )
    assert said(found) == [("a", "get_it", "")]


def test_d056_ids_that_are_missing_or_doubled_become_unique_and_stay() -> None:
    found = gathered(call("a"), call("a"), call(""))
    ids = [made.id for made in found.get_calls()]
    assert len({*ids}) == 3
    assert [made.id for made in found.get_calls()] == ids
    assert [message["tool_call_id"] for message in found.get_messages()[1:]] == ids


names = st.sampled_from(["look_up", "write", "f"])
arguments = st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps)


@given(st.lists(st.tuples(names, arguments), min_size=1, max_size=4), st.data())
def test_calls_cut_anywhere_and_interleaved_in_any_way_are_the_same_calls(
    calls: list[tuple[str, str]], data: st.DataObject
) -> None:
    pieces: list[list[dict[str, Any]]] = []
    for index, (name, text) in enumerate(calls):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
        parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        first = {"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": ""}}
        pieces.append([first, *({"index": index, "function": {"arguments": part}} for part in parts)])
    found = ToolCalls()
    # Calls begin in their order, as they do at every provider; after that anything goes.
    for one in pieces:
        found.add_delta([one.pop(0)])
    while any(pieces):
        waiting = [one for one in pieces if one]
        found.add_delta([data.draw(st.sampled_from(waiting)).pop(0)])
    assert said(found) == [(f"call_{index}", name, text) for index, (name, text) in enumerate(calls)]


@given(st.lists(st.tuples(names, arguments), max_size=4), st.text(), st.none() | st.integers() | st.text())
def test_stored_turns_round_trip(calls: list[tuple[str, str]], text: str, result: Any) -> None:
    found = gathered(*(call(f"c{n}", *one) for n, one in enumerate(calls)), content=text, reasoning="R")
    found.insert_results({"c0": result})
    back = ToolCalls.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back.get_calls() == found.get_calls()
    assert back.get_messages() == found.get_messages()


def test_refuses_malformed_stored_turns() -> None:
    with pytest.raises(InputError, match="no stored tool calls"):
        ToolCalls.from_dict({"calls": 5})
