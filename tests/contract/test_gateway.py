"""The gateway over HTTP: jobs, their streams from any place on, and every answer that is a refusal."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import signal
import time
from typing import Any

import pytest
from gateways import SLOW, Sse, another_gateway, ask, kill, result, submit, text_of
from stack import Stack

pytestmark = pytest.mark.xdist_group("gateway")


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


def test_every_cut_of_a_running_job_is_resumed_without_loss(base: str) -> None:
    job = submit(base, SLOW)
    whole: list[tuple[str | None, str]] = []
    last: dict[str, str] = {}
    for cut in (1, 2, 7, 3, 11, 10_000):
        with Sse(f"{base}/v1/jobs/{job}/events", **last) as stream:
            for event in stream.events():
                whole.append(event)
                cut -= 1
                if not cut:
                    break
        last = {"last_event_id": str(whole[-1][0])}
    assert text_of(whole) == result(base, job)["completion"]["content"]


def test_the_table_of_cursors(base: str) -> None:
    job = submit(base)
    url = f"{base}/v1/jobs/{job}/events"
    whole = Sse(url).all()
    ids = [id for id, _ in whole]
    epoch = int(str(ids[0]).split("-")[0])
    for start in ("", "0", "-1", "0-0", f"{epoch + 1}-1"):
        assert [id for id, _ in Sse(f"{url}?after={start}").all()] == ids, start
    assert [id for id, _ in Sse(f"{url}?after={ids[0]}").all()] == ids[1:]
    assert [id for id, _ in Sse(f"{url}?after={epoch - 1}-7").all()] == ids, "an older attempt"
    assert [id for id, _ in Sse(f"{url}?after={job}:{ids[0]}").all()] == ids[1:]
    assert [id for id, _ in Sse(f"{url}?after=0", last_event_id=str(ids[1])).all()] == ids[2:], "the header wins"
    assert ask(f"{url}?after={ids[-1]}").status == 204
    assert ask(f"{url}?after=now").status == 204
    for view in ("openai", "ag-ui"):
        frames = Sse(f"{url}?view={view}").all()
        assert [id for id, _ in Sse(f"{url}?view={view}&after={frames[0][0]}").all()] == [id for id, _ in frames[1:]]
    assert len(Sse(f"{url}?view=ui-message-stream&after={ids[-1]}").all()) > 3, "always all of it"


CURSORS = [
    *(
        "x",
        "17",
        "17-",
        "-17",
        "17-4-2",
        "17-4.0",
        "17-4.",
        "17.4",
        "17-4 ",
        "+1-1",
        "1e9-1",
        "١-١",
        "$$",
        "NOW",
        "null",
    ),
    *(
        "%00",
        "%0d%0a",
        "../x",
        "9" * 16 + "-1",
        "1-" + "9" * 40,
        "job_x:17-4",
        "job_" + "z" * 26 + ":17-4",
        "%F0%9F%98%80",
    ),
]


@pytest.mark.parametrize("cursor", CURSORS)
def test_any_other_cursor_is_a_400(base: str, done: str, cursor: str) -> None:
    from urllib.parse import quote

    given = cursor if cursor.startswith("%") else quote(cursor)
    answer = ask(f"{base}/v1/jobs/{done}/events?after={given}")
    assert answer.status == 400, answer.body
    assert answer.json["error"]["code"] == "invalid_request"


@pytest.fixture(scope="module")
def done(stack: Stack) -> str:
    base = stack.ready["gateway"]
    job = submit(base)
    result(base, job)
    return job


def test_a_trimmed_log_is_410_and_never_a_part_of_it(stack: Stack, base: str) -> None:
    job = submit(base, SLOW)
    url = f"{base}/v1/jobs/{job}/events"
    ids = [id for id, _ in Sse(url).all()]
    with stack.client as client:
        client.xtrim(f"{{hr}}:job:{job}:log", minid=ids[10], approximate=False)
    with another_gateway(stack, "fresh") as (fresh, _):  # the first one's room still has them all
        answer = ask(f"{fresh}/v1/jobs/{job}/events?after={ids[2]}")
        assert answer.status == 410, answer.body[:600]
        assert answer.json["error"]["code"] == "gone"
        assert ask(f"{fresh}/v1/jobs/{job}/events?view=openai&after={ids[2]}.0").status == 410
        assert [id for id, _ in Sse(f"{fresh}/v1/jobs/{job}/events?after={ids[12]}").all()] == ids[13:]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/jobs/job_nothing", None, 404, "not_found"),
        ("GET", "/v1/jobs/job_nothing/events", None, 404, "not_found"),
        ("GET", "/v1/jobs/batch_x/events", None, 404, "not_found"),
        ("GET", "/v1/jobs/job_%7Bhr%7D/events", None, 404, "not_found"),
        ("POST", "/v1/jobs/job_nothing/cancel", {}, 404, "not_found"),
        ("POST", "/v1/jobs/job_nothing/tokens", {}, 404, "not_found"),
        ("POST", "/v1/jobs", b"{", 400, "invalid_request"),
        ("POST", "/v1/jobs", [], 400, "invalid_request"),
        (
            "POST",
            "/v1/jobs",
            {"model": "nobody/x", "messages": [{"role": "user", "content": "x"}]},
            400,
            "invalid_request",
        ),
        ("POST", "/v1/chat/completions", {"model": "rehearsal/small"}, 400, "invalid_request"),
        (
            "POST",
            "/v1/ui/chat",
            {"id": "c", "model": "rehearsal/small", "messages": [{"role": "user"}]},
            400,
            "invalid_request",
        ),
        ("POST", "/v1/ag-ui", {"threadId": 3}, 400, "invalid_request"),
        ("GET", "/v1/ui/chat/none/stream", None, 204, None),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", "/..%2fapp.py", None, 404, None),
        ("DELETE", "/v1/jobs", None, 405, "http"),
    ],
)
def test_refusals_say_what_was_wrong(
    base: str, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    answer = ask(base + path, method, body)
    assert answer.status == status, answer.body
    if code:
        assert answer.json["error"]["code"] == code
        assert answer.json["error"]["message"]


def test_a_body_that_is_too_large(base: str) -> None:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/jobs")
        connection.putheader("content-length", str(33 << 20))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_cancelling(base: str) -> None:
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


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "null", "http://\\"])
def test_an_origin_that_is_none_is_refused(base: str, origin: str) -> None:
    job = submit(base)
    assert ask(f"{base}/v1/jobs/{job}", origin=origin).status == 403


def test_a_deep_body_is_refused(base: str) -> None:
    talk = [{"role": "user", "content": "x"}]
    for depth in (250, 700, 960, 5000):
        deep = b"[" * depth + b"1" + b"]" * depth
        body = (
            json.dumps({"model": "rehearsal/small", "messages": talk, "zzz": 0})
            .encode()
            .replace(b'"zzz": 0', b'"zzz": ' + deep)
        )
        for route in ("jobs", "chat/completions", "ag-ui"):
            answer = ask(f"{base}/v1/{route}", "POST", body)
            assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_request"), (depth, route)


def test_named_origins_open_no_other_host(stack: Stack) -> None:
    with another_gateway(stack, "named", HEADRACE_GATEWAY_ORIGINS="https://app.example") as (base, _):
        assert ask(f"{base}/v1/jobs/job_x", host="evil.com:8400", origin="http://evil.com:8400").status == 403
        assert ask(f"{base}/v1/jobs/job_x", host="app.example", origin="https://app.example").status == 404
        assert ask(f"{base}/v1/jobs/job_x", origin="https://app.example").status == 404


@pytest.mark.parametrize("view", ["openai", "ag-ui"])
def test_a_view_that_was_compacted_away_is_410(stack: Stack, base: str, view: str) -> None:
    job = submit(base)
    result(base, job)
    with stack.client as client:
        log = f"{{hr}}:job:{job}:log"
        last, end = client.xrange(log)[-1]  # type: ignore[index]
        epoch, _, seq = last.decode().partition("-")
        snapshot = json.dumps({"t": "snapshot", "upto": int(seq) - 2, "message": {"role": "assistant", "content": "x"}})
        client.delete(log)
        client.xadd(log, {"d": snapshot.replace('": ', '":')}, id=f"{epoch}-{int(seq) - 1}")
        client.xadd(log, end, id=last)
    answer = ask(f"{base}/v1/jobs/{job}/events?view={view}&after={epoch}-2")
    assert (answer.status, answer.json["error"]["code"]) == (410, "gone")
    assert [json.loads(data)["t"] for _, data in Sse(f"{base}/v1/jobs/{job}/events?after={epoch}-2").all()] == [
        "snapshot",
        "end",
    ]


def test_pages_that_are_not_there(base: str) -> None:
    for name in ("a" * 300, "..%2f..%2fetc%2fpasswd", "page.css%00", "nothing.js"):
        assert ask(f"{base}/{name}").status == 404
    for name, media in (("", "text/html"), ("headrace.js", "text/javascript"), ("page.css", "text/css")):
        assert ask(f"{base}/{name}").headers["content-type"] == f"{media}; charset=utf-8"


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


def test_now_says_after_which_event_it_begins(base: str) -> None:
    job = submit(base, SLOW)
    with Sse(f"{base}/v1/jobs/{job}/events") as stream:
        next(event for event in stream.events() if "text.delta" in event[1])
    with Sse(f"{base}/v1/jobs/{job}/events?after=now") as stream:
        events = stream.events()
        _, pos = next(events)
        id, _ = next(events)
    epoch, _, seq = json.loads(pos)["at"].partition("-")
    assert id == f"{epoch}-{int(seq) + 1}"


def test_heartbeats_and_the_last_word_do_not_wait_for_the_ledger(stack: Stack) -> None:
    job = "job_" + secrets.token_hex(13).translate(str.maketrans("01", "ab"))
    with another_gateway(stack, "steady", HEADRACE_HEARTBEAT_S="0.1") as (base, process), stack.client as client:
        now = str(int(time.time() * 1000))
        client.hset(
            f"{{hr}}:job:{job}", mapping={"kind": "job", "state": "queued", "created": now, "epoch": "0", "seq": "0"}
        )
        server = client.info("server")["process_id"]  # type: ignore[index]
        try:
            with Sse(f"{base}/v1/jobs/{job}/events") as stream:
                assert stream.answer.readline() == b": hb\n"
                kill(server, signal.SIGSTOP)
                began = time.monotonic()
                for _ in range(10):
                    assert stream.answer.readline() in (b": hb\n", b"\n")
                process.send_signal(signal.SIGTERM)
                assert [json.loads(data)["t"] for _, data in stream.events()] == ["bye"]
                assert time.monotonic() - began < 20, "nobody waited for the ledger, which takes a minute"
                answer = ask(f"{stack.ready['gateway']}/healthz")
                assert (answer.status, answer.json["error"]["code"]) == (503, "unreachable")
        finally:
            kill(server, signal.SIGCONT)
            client.delete(f"{{hr}}:job:{job}")


def test_a_deploy_ends_streams_and_no_job(stack: Stack) -> None:
    with another_gateway(stack, "old") as (old, process), another_gateway(stack, "new") as (new, _):
        job = submit(old, SLOW)
        streams = {
            view: Sse(f"{old}/v1/jobs/{job}/events?view={view}")
            for view in ("native", "openai", "ui-message-stream", "ag-ui")
        }
        readers = {view: stream.events() for view, stream in streams.items()}
        seen = {view: [next(reader) for _ in range(4)] for view, reader in readers.items()}
        process.send_signal(signal.SIGTERM)
        for view, reader in readers.items():
            seen[view] += list(reader)
            streams[view].close()
        assert process.wait(5) == 0, "long before the answer is whole"
        assert json.loads(seen["native"].pop()[1])["t"] == "bye"
        assert json.loads(seen["openai"][-1][1])["error"]["code"] == "interrupted"
        assert json.loads(seen["ui-message-stream"][-1][1])["type"] == "error"
        assert "RUN_" not in seen["ag-ui"][-1][1], "this client resumes where the stream was cut"
        last = str(seen["native"][-1][0])
        rest = Sse(f"{new}/v1/jobs/{job}/events", last_event_id=last).all()
        assert text_of(seen["native"] + rest) == result(new, job)["completion"]["content"]
        assert result(new, job)["attempts"] == 1


def test_a_gateway_that_is_killed_costs_nothing(stack: Stack) -> None:
    with another_gateway(stack, "dying") as (dying, process), another_gateway(stack, "living") as (living, _):
        job = submit(dying, SLOW)
        with Sse(f"{dying}/v1/jobs/{job}/events") as stream:
            events = []
            for event in stream.events():
                events.append(event)
                if len(events) == 10:
                    process.kill()
        rest = Sse(f"{living}/v1/jobs/{job}/events", last_event_id=str(events[-1][0])).all()
        shown = result(living, job)
        assert text_of(events + rest) == shown["completion"]["content"]
        assert shown["attempts"] == 1


def test_a_worker_that_is_killed_makes_viewers_begin_anew(stack: Stack, base: str) -> None:
    import os

    job = submit(base, SLOW)
    with Sse(f"{base}/v1/jobs/{job}/events") as stream, Sse(f"{base}/v1/jobs/{job}/events?view=openai") as chunks:
        events: list[tuple[str | None, str]] = []
        for event in stream.events():
            events.append(event)
            if len(events) == 10:
                os.kill(stack.ready["workers"]["interactive"], signal.SIGKILL)
        assert text_of(events) == result(base, job)["completion"]["content"]
        assert [json.loads(data)["n"] for _, data in events if '"attempt.start"' in data] == [1, 2]
        assert json.loads(chunks.all()[-1][1])["error"]["code"] == "superseded"
