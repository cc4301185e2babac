"""What the gateway refuses: paths, bodies, origins and pages, each with a status and in words."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

import pytest
from gateways import another_gateway, ask, submit
from stack import Stack


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
            404,
            "model_not_found",
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
        ("DELETE", "/v1/jobs", None, 405, "method_not_allowed"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
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


def test_pages_that_are_not_there(base: str) -> None:
    for name in ("a" * 300, "..%2f..%2fetc%2fpasswd", "page.css%00", "nothing.js"):
        assert ask(f"{base}/{name}").status == 404
    for name, media in (("", "text/html"), ("headrace.js", "text/javascript"), ("page.css", "text/css")):
        assert ask(f"{base}/{name}").headers["content-type"] == f"{media}; charset=utf-8"


@pytest.mark.parametrize("path", ["chat/completions", "jobs"])
@pytest.mark.parametrize(
    "options", [{"mode": None}, {"messages": []}, {"stream": True}, {"extra_body": 5}, [], {"": 1}]
)
def test_an_option_of_headrace_that_is_none_is_named(base: str, path: str, options: Any) -> None:
    """Beside a field that goes to the provider as it is."""
    asked = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "x"}], "foo": 1}
    answer = ask(f"{base}/v1/{path}", "POST", asked | {"headrace": {"options": options}})
    assert answer.status == 400, answer.body
    assert answer.json["error"]["param"].startswith("headrace.options")
