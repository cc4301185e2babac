"""Events as a client gives them out: dicts with all that is in the log, and types to match on."""

from __future__ import annotations

import copy
import json

from headrace.client.event_dict import batch_event_dict, job_event_dict
from headrace.events.ids import Event, EventId
from headrace.events.types import BatchProgress, OtherEvent, TextDelta


def test_an_event_is_the_object_of_the_log_with_its_id() -> None:
    stored = b'{"t":"text.delta","c":0,"p":0,"d":"Hi","mood":"calm"}'
    event = job_event_dict(Event(EventId(17, 4), stored), "job_a")
    assert event == {"id": "17-4", "t": "text.delta", "c": 0, "p": 0, "d": "Hi", "mood": "calm"}
    assert list(event)[:2] == ["id", "t"]
    assert event.event == TextDelta(d="Hi")
    assert json.loads(json.dumps(event)) == copy.deepcopy(event) == event


def test_an_event_of_a_newer_release_is_given_out_whole() -> None:
    event = job_event_dict(Event(EventId(17, 4), b'{"t":"of.the.future","d":[1]}'), "job_a")
    assert event == {"id": "17-4", "t": "of.the.future", "d": [1]}
    assert event.event == OtherEvent("of.the.future")


def test_a_batchs_counters_are_numbers_by_their_names() -> None:
    stored = (
        b'{"t":"batch.progress","state":"in_progress","at":5,"total":9,"succeeded":1,"failed":2,"cancelled":0,"dead":1,'
        b'"input_tokens":7,"output_tokens":8,"waiting":"openai says wait 20 s"}'
    )
    event = batch_event_dict(Event(EventId(17, 4), stored), "batch_a")
    assert (event["total"], event["waiting"]) == (9, "openai says wait 20 s")
    assert isinstance(event.event, BatchProgress)
    assert (event.event.done, event.event.unsuccessful) == (4, 3)
