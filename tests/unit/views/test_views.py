"""Views are pure folds: cut anywhere and resumed they say the same, and what they say is what the log says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headrace_api.views import VIEWS, Cursor, Frame, Replay, Subject, View
from hypothesis import given
from hypothesis import strategies as st
from transcript import typed

from headrace.errors import Gone, InputError
from headrace.events.fold import fold
from headrace.events.ids import Event, EventId

spec = importlib.util.spec_from_file_location("event_logs", Path(__file__).with_name("event_logs.py"))
assert spec
assert spec.loader
event_logs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(event_logs)

JOB = "job_" + "a" * 26
SUBJECT = Subject(job=JOB, model="p/m", thread="t", run="r", include_usage=True)
RESUMABLE = [view for view in VIEWS.values() if view.resumable]


def frames(view: type[View], log: list[Event], cursor: str | None = None) -> list[Frame]:
    """What a viewer is sent that comes with `cursor`."""
    at = Cursor.parse(cursor, JOB)
    replay = Replay(view, SUBJECT, at)
    sent: list[Frame] = []
    for event in log:
        if view.name == "native" and isinstance(at.at, EventId) and event.id <= at.at:
            continue  # the reader does that
        if replay.closed:
            break
        sent += replay.add(event)
    return sent


def decoded(sent: list[Frame]) -> list[Any]:
    return [json.loads(frame.data) for frame in sent if frame.data != b"[DONE]"]


@pytest.mark.parametrize("view", RESUMABLE, ids=lambda view: view.name)
@given(log=event_logs.attempts())
def test_replay_to_a_cut_and_the_rest_are_the_whole(view: type[View], log: list[Event]) -> None:
    whole = frames(view, log)
    for place, frame in enumerate(whole):
        if frame.id is None:  # nobody comes back with that
            continue
        assert frames(view, log, frame.id) == whole[place + 1 :]


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
@given(log=event_logs.attempts())
def test_ids_grow_and_the_end_closes(view: type[View], log: list[Event]) -> None:
    replay = Replay(view, SUBJECT)
    sent = [frame for event in log for frame in replay.add(event)]
    assert replay.closed
    ids = [frame.id for frame in sent if frame.id is not None]
    assert len(set(ids)) == len(ids)
    cursors = [Cursor.parse(id, JOB) for id in ids]
    assert [(cursor.at, cursor.part) for cursor in cursors] == sorted((cursor.at, cursor.part) for cursor in cursors)


@given(log=event_logs.attempts())
def test_openai_says_what_the_log_says(log: list[Event]) -> None:
    chunks = decoded(frames(VIEWS["openai"], log))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    for name, kind in (
        ("content", "text.delta"),
        ("reasoning_content", "reasoning.delta"),
        ("refusal", "refusal.delta"),
    ):
        assert "".join(delta.get(name) or "" for delta in deltas) == event_logs.said(log, kind)
    for place in range(3):
        calls = [call for delta in deltas for call in delta.get("tool_calls", ()) if call["index"] == place]
        assert "".join(call["function"]["arguments"] for call in calls) == event_logs.said(log, "tool.delta", place)
    assert [delta.get("role") for delta in deltas if "role" in delta] == ["assistant"] * bool(deltas)


@given(log=event_logs.attempts())
def test_ui_messages_open_and_close_their_parts(log: list[Event]) -> None:
    chunks = decoded(frames(VIEWS["ui-message-stream"], log))
    open_parts: set[str] = set()
    text = ""
    for chunk in chunks:
        kind, _, what = chunk["type"].partition("-")
        if what == "start" and kind in ("text", "reasoning"):
            assert chunk["id"] not in open_parts
            open_parts.add(chunk["id"])
        elif what == "delta" and kind in ("text", "reasoning"):
            assert chunk["id"] in open_parts
            text += chunk["delta"] if kind == "text" else ""
        elif what == "end" and kind in ("text", "reasoning"):
            open_parts.remove(chunk["id"])
    assert not open_parts
    texts = [one["d"] for event in log if (one := json.loads(event.data))["t"] in ("text.delta", "refusal.delta")]
    assert text == "".join(texts)
    assert chunks[0] == {"type": "start", "messageId": JOB}
    assert chunks[-1]["type"] in ("finish", "error", "abort")


@given(log=event_logs.attempts())
def test_ag_ui_opens_and_closes_its_messages(log: list[Event]) -> None:
    events = decoded(frames(VIEWS["ag-ui"], log))
    opened = [one for one in events if one["type"].endswith(("_MESSAGE_START", "TOOL_CALL_START"))]
    closed = [one for one in events if one["type"].endswith(("_MESSAGE_END", "TOOL_CALL_END"))]
    assert len(opened) == len(closed)
    assert events[0] == {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    assert [one["type"] for one in events if one["type"].startswith("RUN_")][1:] in (["RUN_FINISHED"], ["RUN_ERROR"])
    for place in range(3):
        arguments = [one["delta"] for one in events if one.get("toolCallId") == f"call_{place}" and "delta" in one]
        assert "".join(arguments) == event_logs.said(log, "tool.delta", place)


@pytest.mark.parametrize(
    ("name", "word"), [("openai", "superseded"), ("ui-message-stream", "superseded"), ("ag-ui", "superseded")]
)
@given(first=event_logs.attempts(epoch=17, ended=False), second=event_logs.attempts(epoch=18, n=2))
def test_marks_a_superseded_attempt_instead_of_mixing_two(
    name: str, word: str, first: list[Event], second: list[Event]
) -> None:
    shown = frames(VIEWS[name], first)
    whole = frames(VIEWS[name], first + second)
    kinds = (".delta", "tool.start") if name == "ag-ui" else (".delta", "tool.start", "annotation")
    visible = any(json.loads(event.data)["t"].endswith(kinds) for event in first)
    if visible:
        assert whole[: len(shown)] == shown
        assert len(whole) == len(shown) + 1
        assert word in whole[-1].data.decode()
    else:
        assert word not in whole[-1].data.decode()
    last = next((frame.id for frame in reversed(shown) if frame.id is not None), None)
    if last and visible and VIEWS[name].resumable:  # the log holds the second alone by then
        (only,) = frames(VIEWS[name], second, last)
        assert word in only.data.decode()


@pytest.mark.parametrize("name", ["openai", "ag-ui"])
def test_a_cursor_inside_a_snapshot_is_refused(name: str) -> None:
    body = {"t": "snapshot", "upto": 5, "message": {"content": "Hello"}}
    snapshot = Event(EventId(17, 6), json.dumps(body).encode())
    with pytest.raises(Gone):
        frames(VIEWS[name], [snapshot], "17-3.0")
    assert "Hello" in b"".join(frame.data for frame in frames(VIEWS[name], [snapshot])).decode()


@given(st.text())
def test_any_cursor_is_read_or_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text, JOB)
    except InputError:
        return
    assert cursor.at == "now" or isinstance(cursor.at, EventId)


@pytest.mark.parametrize(
    "text", ["17-4.", "17-4.-1", "17-4.1.2", "job_b:17-4", "job_" + "b" * 26 + ":17-4", "17–4", "1e3-1", " 17-4"]
)
def test_cursors_that_are_none(text: str) -> None:
    with pytest.raises(InputError):
        Cursor.parse(text, JOB)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
@given(log=event_logs.attempts(), newer=st.integers(1, 30))
def test_unknown_events_pass_the_native_view_and_change_no_other(
    view: type[View], log: list[Event], newer: int
) -> None:
    place = min(newer, len(log) - 1)
    told = [Event(event.id, event.data[:-1] + b',"mood":{"c":[1.50]}}') for event in log]
    unknown = Event(
        EventId(17, 1000), b'{"t":"of.the.future", "c":"x", "d":1}'
    )  # written with a space, by someone else
    told[place:place] = [unknown]
    sent = frames(view, told)
    if view.verbatim:
        assert [frame.data for frame in sent] == [event.data for event in told]
    else:
        assert [frame.data for frame in sent] == [frame.data for frame in frames(view, log)]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA=="}}
SIGNATURE = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
RICH: list[dict[str, Any]] = [
    {"t": "attempt.start", "n": 1},
    {"t": "text.delta", "c": 0, "p": 0, "d": "So."},
    {"t": "image", "c": 0, "p": 0, "a": IMAGE},
    {"t": "tool.start", "c": 0, "i": 0, "call_id": "call_1", "name": "f", "type": "function"},
    {"t": "raw", "c": 0, "i": 0, "o": SIGNATURE},
    {"t": "tool.end", "c": 0, "i": 0},
    {"t": "citation", "c": 0, "p": 0, "a": "https://a.example"},
    {
        "t": "raw",
        "c": 0,
        "o": {
            "details": [{"type": "reasoning.encrypted", "data": "x"}],
            "answer": {"search_results": [1], "self": 2},
            "choice": {"token_ids": [5]},
            "message": {"executed_tools": [3]},
        },
    },
]
END = {"t": "end", "status": "succeeded", "finish": [{"c": 0, "reason": "tool_calls"}], "usage": {}}


def logged(events: list[dict[str, Any]]) -> list[Event]:
    return [Event(EventId(1, seq), json.dumps(event).encode()) for seq, event in enumerate(events, 1)]


@pytest.mark.parametrize("compacted", [False, True])
def test_fields_unknown_to_openai_keep_their_place(compacted: bool) -> None:
    log = [msgspec.to_builtins(fold(map(typed, RICH)).snapshot(8))] if compacted else RICH
    chunks = decoded(frames(VIEWS["openai"], logged([*log, END])))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert [image for delta in deltas for image in delta.get("images", ())] == [IMAGE]
    assert [call for delta in deltas for call in delta.get("tool_calls", ()) if "extra_content" in call]
    assert {"executed_tools": [3]}.items() <= {k: v for delta in deltas for k, v in delta.items()}.items()
    assert [delta["reasoning_details"] for delta in deltas if "reasoning_details" in delta] == [
        [{"type": "reasoning.encrypted", "data": "x"}]
    ]
    (last,) = (chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"])
    assert (last["citations"], last["search_results"], last["self"]) == (["https://a.example"], [1], 2)
    assert last["choices"][0]["token_ids"] == [5]


@pytest.mark.parametrize("compacted", [False, True])
def test_images_and_citations_are_parts_of_a_ui_message(compacted: bool) -> None:
    log = [msgspec.to_builtins(fold(map(typed, RICH)).snapshot(8))] if compacted else RICH
    parts = decoded(frames(VIEWS["ui-message-stream"], logged([*log, END])))
    assert [part for part in parts if part["type"] == "file"] == [
        {"type": "file", "url": IMAGE["image_url"]["url"], "mediaType": "image/webp"}
    ]
    assert [part["url"] for part in parts if part["type"] == "source-url"] == ["https://a.example"]
