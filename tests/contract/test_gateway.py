"""The gateway over HTTP: jobs from submission to result, their streams, and the views of them."""

from __future__ import annotations

import json
import secrets
import time

import pytest
from gateways import SLOW, Sse, another_gateway, ask, result, submit, text_of
from stack import Stack


def test_a_job_from_its_submission_to_its_result(base: str) -> None:
    accepted = ask(
        f"{base}/v1/jobs", "POST", {"model": "rehearsal/small", "messages": [{"role": "user", "content": SLOW}]}
    )
    assert accepted.status == 202
    job = accepted.json["id"]
    assert accepted.headers["location"] == f"/v1/jobs/{job}"
    with Sse(accepted.json["urls"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store, no-transform"
        events = stream.all()
    shown = ask(accepted.json["urls"]["result"]).json
    assert shown["status"] == "succeeded"
    assert shown["attempts"] == 1
    assert text_of(events) == shown["completion"]["content"]
    assert len(events) > 30, "it came in pieces"


def test_cancelling_ends_the_stream_and_the_job(base: str) -> None:
    job = submit(base, SLOW)
    with Sse(f"{base}/v1/jobs/{job}/events") as stream:
        events = []
        for event in stream.events():
            events.append(event)
            if len(events) == 8:
                began = time.monotonic()
                assert ask(f"{base}/v1/jobs/{job}/cancel", "POST", {}).status == 200
        assert time.monotonic() - began < 5
    assert json.loads(events[-1][1])["status"] == "cancelled"
    assert result(base, job)["error"]["code"] == "cancelled"
    assert ask(f"{base}/v1/jobs/{job}/cancel", "POST", {}).json["status"] == "cancelled"


def test_a_viewer_that_leaves_stops_nothing(stack: Stack, base: str) -> None:
    job = submit(base, SLOW)
    with Sse(f"{base}/v1/jobs/{job}/events") as stream:
        next(stream.events())
    assert result(base, job)["status"] == "succeeded"
    assert sum(call.request_id.startswith(job) for call in stack.calls() if call.request_id) == 1


def test_the_same_request_with_the_same_key_is_the_same_job(base: str) -> None:
    body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "once"}]}
    first, second = (ask(f"{base}/v1/jobs", "POST", body, idempotency_key="k1").json["id"] for _ in range(2))
    assert first == second
    other = ask(f"{base}/v1/jobs", "POST", body | {"temperature": 1}, idempotency_key="k1")
    assert (other.status, other.json["error"]["code"]) == (409, "conflict")
    assert other.headers["x-should-retry"] == "false"


def test_a_failed_job_is_told_in_every_form(base: str) -> None:
    text = "[[rehearsal fault=400]] x"
    job = submit(base, text)
    assert result(base, job)["error"]["code"] == "invalid_request"
    body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": text}]}
    plain = ask(f"{base}/v1/chat/completions", "POST", body)
    assert (plain.status, plain.json["error"]["code"]) == (400, "invalid_request")
    url = f"{base}/v1/jobs/{job}/events?view="
    assert json.loads(Sse(url + "openai").all()[-1][1])["error"]["code"] == "invalid_request"
    assert json.loads(Sse(url + "ag-ui").all()[-1][1])["type"] == "RUN_ERROR"
    assert any(
        json.loads(data)["type"] == "error" for _, data in Sse(url + "ui-message-stream").all() if data != "[DONE]"
    )


@pytest.mark.parametrize("lowered", [True, False])
def test_an_openai_stream_with_a_schema_is_the_same_live_and_later_and_in_parts(base: str, lowered: bool) -> None:
    inner = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}
    schema = {"type": "object", "properties": {"m": inner if lowered else {"type": "string", "minLength": 60}}}
    schema |= {"required": ["m"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    job = submit(base, "[[rehearsal tps=40]] Say much.", response_format=form, stream=True)
    url = f"{base}/v1/jobs/{job}/events?view=openai"
    live = Sse(url).all()
    text = "".join(content(data) for _, data in live)
    assert json.loads(text) == ask(f"{base}/v1/jobs/{job}").json["completion"]["value"]
    assert len(live) > 6 or lowered
    assert Sse(url).all() == live
    for at, (id, _) in enumerate(live[:-1]):
        if id is not None:
            assert Sse(f"{url}&after={id}").all() == live[at + 1 :]


def content(data: str) -> str:
    chunk = {} if data == "[DONE]" else json.loads(data)
    return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))


def test_a_lowered_schema_is_answered_in_the_callers_form(base: str) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}
    outer = {"type": "object", "properties": {"m": schema}, "required": ["m"], "additionalProperties": False}
    job = submit(base, "x", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": outer}})
    value = result(base, job)["completion"]["value"]
    for _ in range(2):
        chunks = [
            json.loads(data) for _, data in Sse(f"{base}/v1/jobs/{job}/events?view=openai").all() if data != "[DONE]"
        ]
        said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        assert json.loads(said) == value
        assert isinstance(value["m"], dict)


def test_a_silent_stream_says_so(stack: Stack) -> None:
    with another_gateway(stack, "beating", HEADRACE_HEARTBEAT_S="0.05") as (base, _):
        job = submit(base, "[[rehearsal latency=700]] x")
        with Sse(f"{base}/v1/jobs/{job}/events") as stream:
            text_of(stream.all())
            assert stream.comments > 5


@pytest.mark.parametrize(("state", "why"), [("queued", "ten minutes"), ("running", "was lost")])
def test_a_job_that_nobody_works_on_says_so_once(stack: Stack, state: str, why: str) -> None:
    job = "job_" + secrets.token_hex(13).translate(str.maketrans("01", "ab"))
    old = str(int((time.time() - 3600) * 1000))
    record = {"kind": "job", "state": state, "created": old, "lease": old, "epoch": "0", "seq": "0"}
    with another_gateway(stack, "waiting", HEADRACE_HEARTBEAT_S="0.1") as (base, _), stack.client as client:
        client.hset(f"{{hr}}:job:{job}", mapping=record)  # in no queue, and under no lease
        try:
            with Sse(f"{base}/v1/jobs/{job}/events") as stream:
                id, data = next(stream.events())
                assert (id, json.loads(data)["phase"]) == (None, "stalled")
                assert why in json.loads(data)["detail"]
                for _ in range(12):  # heartbeats, and not another word
                    assert stream.answer.readline() in (b": hb\n", b"\n")
        finally:
            client.delete(f"{{hr}}:job:{job}")
