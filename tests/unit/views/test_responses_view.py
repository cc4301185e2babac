"""The events of the Responses API are a pure fold: dense numbers, official types, and the same after every cut."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from headrace_api.views import Frame, Replay, Subject
from headrace_api.views.openai_responses import OpenAIResponses
from hypothesis import given
from hypothesis import strategies as st
from openai import NOT_GIVEN
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from openai_types import check
from pydantic import TypeAdapter

from headrace.chat.completion import Completion, Outcome, Usage
from headrace.chat.responses_object import response_object
from headrace.errors import Gone
from headrace.events.ids import Event, EventId

spec = importlib.util.spec_from_file_location("event_logs", Path(__file__).with_name("event_logs.py"))
assert spec
assert spec.loader
event_logs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(event_logs)

LETTERS = "a" * 26
JOB, RESPONSE = f"job_{LETTERS}", f"resp_{LETTERS}"
EVENT = TypeAdapter(ResponseStreamEvent)
OFFICIAL = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
SUMMARY = {"reasoning": {"summary": "auto"}}
SEALED = {"include": ["reasoning.encrypted_content"]}


def shown(log: list[Event], after: int | None = None, outcome: Outcome | None = None, **request: Any) -> list[Any]:
    """The events that a viewer is sent that has seen number `after`."""
    asked = {"model": "p/m", "input": "x"} | request
    subject = Subject(job=JOB, request=asked, created_s=5, starting_after=after)
    replay = Replay(OpenAIResponses, subject)
    if log:
        replay.check_first(log[0])
    frames: list[Frame] = replay.opening()
    for event in log:
        if replay.closed:
            break
        if event.data.startswith(b'{"t":"end"'):
            replay.view.settle(outcome, 7000)
        frames += replay.add(event)
    return [json.loads(frame.data) for frame in frames]


def log_of(*bodies: dict[str, Any], epoch: int = 17, n: int = 1) -> list[Event]:
    start = {"t": "attempt.start", "n": n, "reset": n > 1, "reason": "claim"}
    return [Event(EventId(epoch, seq), msgspec.json.encode(body)) for seq, body in enumerate([start, *bodies], 1)]


def text(d: str, **more: Any) -> dict[str, Any]:
    return {"t": "text.delta", "c": 0, "p": 0, "d": d} | more


def thought(d: str) -> dict[str, Any]:
    return {"t": "reasoning.delta", "c": 0, "p": 0, "d": d}


def end(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {"t": "end", "status": status} | more


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


REQUESTS = st.sampled_from([{}, SUMMARY, SEALED, {"background": True}])


@given(log=event_logs.attempts(), request=REQUESTS)
def test_every_event_is_of_its_official_type_and_has_the_next_number(log: list[Event], request: Any) -> None:
    events = shown(log, **request)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        check(OFFICIAL[event["type"]], event)
    assert events[-1]["type"] in ("response.completed", "response.failed", "response.incomplete")


@given(log=event_logs.attempts(), request=REQUESTS)
def test_after_every_cut_the_rest_is_the_rest(log: list[Event], request: Any) -> None:
    whole = shown(log, **request)
    for number in range(-1, len(whole)):
        assert shown(log, number, **request) == whole[number + 1 :]


@given(log=event_logs.attempts(), request=REQUESTS)
def test_what_was_told_piece_by_piece_is_the_response_in_the_end(log: list[Event], request: Any) -> None:
    events = shown(log, **request)
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=NOT_GIVEN, text_format=NOT_GIVEN)
    for event in events:
        state.handle_event(EVENT.validate_python(event))
    output = events[-1]["response"]["output"]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [event["output_index"] for event in added] == list(range(len(output)))
    assert [done[place] for place in range(len(output))] == output
    for kind, name in (("output_text", "text"), ("refusal", "refusal"), ("reasoning_text", "text")):
        said = [event["delta"] for event in events if event["type"] == f"response.{kind}.delta"]
        parts = [part for item in output for part in item.get("content") or () if part["type"] == kind]
        assert "".join(said) == "".join(part[name] for part in parts)
    assert event_logs.said(log, "text.delta") == "".join(
        event["delta"] for event in events if event["type"] == "response.output_text.delta"
    )
    for place in range(3):
        pieces = [
            e["delta"] for e in events if e["type"].endswith("arguments.delta") and e["item_id"].endswith(f"_{place}")
        ]
        assert "".join(pieces) == event_logs.said(log, "tool.delta", place)


def test_a_text_has_the_events_that_openai_sends() -> None:
    events = shown(log_of(text("Be"), text("cause."), end()))
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    assert {event["item_id"] for event in events if "item_id" in event} == {f"msg_{LETTERS}"}
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    assert events[-1]["response"]["completed_at"] == 7


def test_reasoning_ends_where_the_text_begins() -> None:
    log = log_of(thought("hm"), text("So."), end())
    between = [
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    assert kinds(shown(log))[3:8] == between
    assert kinds(shown(log, **SUMMARY))[3:8] == [
        *("reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
    ]


def test_calls_of_both_kinds() -> None:
    log = log_of(
        {"t": "tool.start", "c": 0, "i": 0, "call_id": "c1", "name": "f", "type": "function"},
        {"t": "tool.delta", "c": 0, "i": 0, "d": '{"a":'},
        {"t": "tool.delta", "c": 0, "i": 0, "d": "1}"},
        {"t": "tool.end", "c": 0, "i": 0},
        {"t": "tool.start", "c": 0, "i": 1, "call_id": "c2", "name": "g", "type": "custom"},
        {"t": "tool.delta", "c": 0, "i": 1, "d": "free"},
        end(finish=[{"c": 0, "reason": "tool_calls"}]),
    )
    events = shown(log)
    function, custom = events[-1]["response"]["output"]
    assert (function["arguments"], function["status"], function["call_id"]) == ('{"a":1}', "completed", "c1")
    assert (custom["input"], custom["id"]) == ("free", f"ctc_{LETTERS}_1")
    assert kinds(events)[2:6] == [
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        "function_call_arguments.done",
    ]
    assert events[2]["item"]["arguments"] == ""


def test_a_background_response_is_queued_first() -> None:
    events = shown([], background=True)
    assert kinds(events) == ["created", "queued"]
    assert [event["response"]["status"] for event in events] == ["queued", "queued"]


def test_the_end_has_what_the_outcome_knows() -> None:
    completion = Completion(
        id="x", model="m-2", created=1, content="So.", finish_reason="length", usage=Usage(3, 2, 1), service_tier="flex"
    )
    (*_, last) = shown(log_of(text("So."), end()), outcome=Outcome(completion=completion))
    response = last["response"]
    assert last["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (response["model"], response["service_tier"], response["usage"]["total_tokens"]) == ("m-2", "flex", 5)
    plain = response_object(
        {"model": "p/m", "input": "x"}, RESPONSE, created_at=5, completed_at=7, completion=completion
    )
    assert plain == response


def test_sealed_reasoning_comes_with_the_end() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    completion = Completion(
        id="x", model="m", created=1, content="So.", finish_reason="stop", usage=Usage(1, 1), reasoning="hm",
        reasoning_details=details,
    )  # fmt: skip
    log = log_of(thought("hm"), text("So."), end())
    (*_, last) = shown(log, outcome=Outcome(completion=completion), **SEALED)
    reasoning, message = last["response"]["output"]
    assert reasoning["encrypted_content"].startswith("headrace1.")
    assert message["content"][0]["text"] == "So."
    assert "encrypted_content" not in json.dumps(shown(log, outcome=Outcome(completion=completion)))


@pytest.mark.parametrize(
    ("code", "kind", "status", "error"),
    [
        ("provider_error", "failed", "failed", "server_error"),
        ("rate_limited", "failed", "failed", "rate_limit_exceeded"),
        ("cancelled", "failed", "cancelled", None),
        ("truncated", "incomplete", "incomplete", None),
        ("content_filter", "incomplete", "incomplete", None),
    ],
)
def test_an_end_without_an_answer(code: str, kind: str, status: str, error: str | None) -> None:
    ended = "cancelled" if code == "cancelled" else "failed"
    (*_, last) = shown(log_of(text("So"), end(ended, error={"code": code, "message": "why"})))
    assert last["type"] == f"response.{kind}"
    assert last["response"]["status"] == status
    assert (last["response"]["error"] or {}).get("code") == error
    (item,) = last["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "So")


def test_a_second_attempt_is_shown_alone_when_nothing_was() -> None:
    first, second = log_of(epoch=17), log_of(text("So."), end(), epoch=18, n=2)
    assert shown(first + second) == shown(second)


def test_a_second_attempt_after_something_was_shown_fails() -> None:
    (*_, last) = shown(log_of(text("Be"), epoch=17) + log_of(text("Because."), end(), epoch=18, n=2))
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "server_error"
    assert last["response"]["output"][0]["content"][0]["text"] == "Be"


def test_a_snapshot_tells_the_rest() -> None:
    message = {"role": "assistant", "content": "Because.", "reasoning": "hm"}
    snapshot = Event(EventId(17, 9), msgspec.json.encode({"t": "snapshot", "upto": 8, "message": message}))
    late = [snapshot, Event(EventId(17, 10), msgspec.json.encode(end()))]
    events = shown(late)
    assert [event["delta"] for event in events if event["type"].endswith(".delta")] == ["hm", "Because."]
    behind = log_of(thought("hm"), text("Be")) + late
    events = shown(behind)
    assert [event["delta"] for event in events if event["type"].endswith(".delta")] == ["hm", "Be", "cause."]
    assert shown(late, 1) == shown(late)[2:]
    with pytest.raises(Gone):
        shown(late, 2)


def test_logprobs_only_if_they_were_asked_for() -> None:
    token = {"token": "So", "logprob": -0.5, "bytes": [83, 111], "top_logprobs": [{"token": "So", "logprob": -0.5}]}
    log = log_of(text("So"), text("", lp=[token]), end())
    assert [e["logprobs"] for e in shown(log) if e["type"].endswith("text.delta")] == [[]]
    events = shown(log, include=["message.output_text.logprobs"])
    (last,) = [event["logprobs"] for event in events if event["type"].endswith("text.delta") and not event["delta"]]
    assert last == [{"token": "So", "logprob": -0.5, "top_logprobs": [{"token": "So", "logprob": -0.5}]}]
    (part,) = events[-1]["response"]["output"][0]["content"]
    assert part["logprobs"][0]["bytes"] == [83, 111]
    for event in events:
        check(OFFICIAL[event["type"]], event)


def test_an_interruption_costs_no_number() -> None:
    view = OpenAIResponses(Subject(job=JOB, request={"model": "p/m"}, created_s=5))
    assert len(view.opening()) == 2
    (frame,) = view.interrupted("the gateway is restarting")
    event = msgspec.json.decode(frame)
    check(OFFICIAL[event["type"]], event)
    assert (event["type"], event["sequence_number"]) == ("error", 1)
