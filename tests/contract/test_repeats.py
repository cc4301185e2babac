"""A request without any mark of a retry: it is given what its caller left without, and nothing that somebody else waits for."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from gateways import another_gateway, ask
from headrace_api.auth import EVERY_JOB, SCOPES, Gate
from stack import Stack, until

from headrace.ledger.keys import Keys
from headrace.local.ports import free_port

SLOW = "[[rehearsal latency=3000]]"
RETRY = {"x-stainless-retry-count": "1"}


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "rehearsal/small", "messages": [{"role": "user", "content": text}], **more}


def state_of(stack: Stack, job: str) -> bytes | None:
    return stack.client.hget(Keys(stack.ready["namespace"]).job(job), "state")


def jobs_of(stack: Stack) -> set[str]:
    return {job.decode() for job in stack.client.zrange(Keys(stack.ready["namespace"]).jobs("default"), 0, -1)}


@contextlib.contextmanager
def left_behind(stack: Stack, base: str, path: str, asked: dict[str, Any]) -> Iterator[str]:
    """The job of a request whose client is gone before its answer."""
    before = jobs_of(stack)
    with httpx.Client(base_url=base, timeout=30) as client:
        client.get("/healthz")
        parts = urlsplit(base)
        assert parts.hostname
        assert parts.port
        raw = httpx.Request("POST", f"{base}{path}", json=asked).content
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
            (job,) = until(lambda: jobs_of(stack) - before, what="the job is accepted")
        yield job


def post(base: str, path: str, asked: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{base}{path}", json=asked, headers=headers, timeout=40)


@pytest.mark.parametrize("ended", [False, True], ids=["while it runs", "after its end"])
def test_who_asks_the_same_is_given_what_was_left(stack: Stack, base: str, ended: bool) -> None:
    before, asked = len(stack.calls()), body(f"{SLOW} Who left? {ended}")
    with left_behind(stack, base, "/v1/chat/completions", asked) as job:
        if ended:
            until(lambda: state_of(stack, job) == b"succeeded", what="the job has ended")
        again = post(base, "/v1/chat/completions", asked)
    assert again.headers["x-headrace-job"] == job
    assert len(stack.calls()) - before == 1
    assert post(base, "/v1/chat/completions", asked).headers["x-headrace-job"] != job, "it was taken"


def test_a_stream_is_told_from_its_first_event(stack: Stack, base: str) -> None:
    asked = body(f"{SLOW} What did the stream say?", stream=True)
    with left_behind(stack, base, "/v1/chat/completions", asked) as job:
        again = post(base, "/v1/chat/completions", asked)
    assert again.headers["x-headrace-job"] == job
    assert again.text.rstrip().endswith("[DONE]")
    assert ask(f"{base}/v1/jobs/{job}").json["completion"]["content"].split()[0] in again.text


def test_however_soon(stack: Stack, base: str) -> None:
    """The gateway's loop is given the repeat and the loss of the connection in one turn."""
    path, parts = "/v1/chat/completions", urlsplit(base)
    for n in range(25):
        asked = body(f"[[rehearsal latency=1500]] How soon? {n}", stream=True)
        raw = httpx.Request("POST", f"{base}{path}", json=asked).content
        with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as repeat:
            repeat.request("GET", "/healthz")
            repeat.getresponse().read()
            with left_behind(stack, base, path, asked) as job:
                repeat.request("POST", path, raw, {"content-type": "application/json"})
                assert repeat.getresponse().headers["x-headrace-job"] == job, n


@pytest.mark.parametrize("path", ["/v1/ui/chat", "/v1/ag-ui"])
def test_so_is_a_page(stack: Stack, base: str, path: str) -> None:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": f"{SLOW} {path}?"}]}
    asked = {"id": f"chat{path.count('i')}", "model": "rehearsal/small", "messages": [message]}
    with left_behind(stack, base, path, asked) as job:
        again = post(base, path, asked)
    assert again.status_code == 200, again.text
    assert again.headers["x-headrace-job"] == job


LINES = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}'
OF_A_BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


def upload(client: httpx.Client, **headers: str) -> str:
    form: Any = {"files": {"file": ("a.jsonl", LINES)}, "data": {"purpose": "batch"}}
    return client.post("/v1/files", headers=headers, **form).json()["id"]


def create(client: httpx.Client, file: str, **headers: str) -> str:
    return client.post("/v1/batches", json={"input_file_id": file, **OF_A_BATCH}, headers=headers).json()["id"]


def test_so_are_a_file_and_a_batch_whose_connection_broke(base: str) -> None:
    with httpx.Client(base_url=base, timeout=40, headers={"connection": "close"}) as client:
        file = upload(client)
        assert upload(client) != file, "it was asked for twice"
        assert upload(client, **RETRY) == file
        batch = create(client, file)
        assert create(client, file) != batch
        assert create(client, file, **RETRY) == batch


def test_so_are_a_file_and_a_batch_of_a_gateway_that_died(stack: Stack) -> None:
    """Before it was known that the answer was read: it dies as soon as what it made is there."""
    keys, port = Keys(stack.ready["namespace"]), str(free_port())

    def leases() -> set[bytes]:
        return set(stack.client.scan_iter(keys.gateway("*")))

    def made_and_killed(name: str, index: str, make: Callable[[httpx.Client], str]) -> str:
        before, others = set(stack.client.zrange(index, 0, -1)), leases()
        with (
            another_gateway(stack, name, "--port", port) as (base, process),
            httpx.Client(base_url=base, timeout=40) as client,
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            making = pool.submit(make, client)
            (made,) = until(lambda: set(stack.client.zrange(index, 0, -1)) - before, what="it is made")
            (own,) = leases() - others
            process.kill()
            process.wait(10)
            until(lambda: stack.client.pttl(own) < 4000, what="its silence is noticed")
            assert making.exception(10) is None or isinstance(making.exception(10), httpx.TransportError)
        return made.decode()

    file = made_and_killed("file", keys.files("default"), upload)
    with (
        another_gateway(stack, "again", "--port", port) as (base, _),
        httpx.Client(base_url=base, timeout=40) as client,
    ):
        assert upload(client) == file
    batch = made_and_killed("batch", keys.batches("default"), lambda client: create(client, file))
    with another_gateway(stack, "more", "--port", port) as (base, _), httpx.Client(base_url=base, timeout=40) as client:
        assert create(client, file) == batch


def test_another_query_is_another_question(stack: Stack, base: str) -> None:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": f"{SLOW} Of which model?"}]}
    asked = {"id": "chat-of-a-query", "messages": [message]}
    with left_behind(stack, base, "/v1/ui/chat?model=rehearsal/small", asked) as job:
        other = post(base, "/v1/ui/chat?model=rehearsal/large", asked)
        assert other.headers["x-headrace-job"] != job
        assert post(base, "/v1/ui/chat?model=rehearsal/small", asked).headers["x-headrace-job"] == job


def test_a_job_whose_receipt_was_read_is_nobody_elses(base: str) -> None:
    asked = body("One job.")
    with httpx.Client(base_url=base) as client:
        first = client.post("/v1/jobs", json=asked)
        client.get("/healthz")  # the next request on its connection says that it has been read
        second, third = client.post("/v1/jobs", json=asked), client.post("/v1/jobs", json=asked, headers=RETRY)
    assert len({first.json()["id"], second.json()["id"], third.json()["id"]}) == 3


def test_two_at_once_are_two_samples(stack: Stack, base: str) -> None:
    asked = body(f"{SLOW} Throw a die.")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(post, base, "/v1/chat/completions", asked) for _ in range(2)]
        jobs = {each.result().headers["x-headrace-job"] for each in both}
    assert len(jobs) == 2
    assert {call.request_id.partition(".")[0] for call in stack.calls()} >= jobs


@pytest.mark.parametrize(
    ("more", "headers"), [({"headrace": {"join": False}}, {}), ({}, {"idempotency-key": "its own"})]
)
def test_who_does_not_want_it_is_given_nothing(
    stack: Stack, base: str, more: dict[str, Any], headers: dict[str, str]
) -> None:
    asked = body("Is this mine?", **more)
    with left_behind(stack, base, "/v1/chat/completions", asked) as job:
        assert post(base, "/v1/chat/completions", asked, **headers).headers["x-headrace-job"] != job


def test_a_setting_turns_it_off(stack: Stack) -> None:
    asked = body("Never?")
    with (
        another_gateway(stack, "no-joins", HEADRACE_JOIN_S="0") as (base, _),
        left_behind(stack, base, "/v1/chat/completions", asked) as job,
    ):
        assert post(base, "/v1/chat/completions", asked, **RETRY).headers["x-headrace-job"] != job


def test_callers_are_told_apart_by_their_tokens(stack: Stack) -> None:
    """What one left is not another's, where tokens say who calls."""
    secret = "a secret of sixteen"
    gate = Gate(secret.encode(), is_open=False)
    tokens = {sub: {"authorization": f"Bearer {gate.sign(EVERY_JOB, SCOPES, sub=sub)}"} for sub in ("ann", "bob")}
    with another_gateway(stack, "callers", HEADRACE_STREAM_SECRET=secret, HEADRACE_GATEWAY_OPEN="0") as (base, _):
        asked = body(f"{SLOW} Whose?")
        before = jobs_of(stack)
        with httpx.Client(base_url=base, timeout=0.7) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=asked, headers=tokens["ann"])
        (left,) = jobs_of(stack) - before
        jobs = [post(base, "/v1/chat/completions", asked, **tokens[sub]) for sub in ("bob", "ann")]
    bobs, anns = (job.headers["x-headrace-job"] for job in jobs)
    assert bobs != anns
    assert anns == left


def test_a_gateway_that_is_killed_costs_an_unmarked_repeat_nothing(stack: Stack) -> None:
    """At the same address another one is there at once, while it is not yet known that the first is dead."""
    port, asked, before = str(free_port()), body("[[rehearsal latency=7000]] Who was it?"), len(stack.calls())
    with contextlib.ExitStack() as gateways:
        base, first = gateways.enter_context(another_gateway(stack, "first", "--port", port))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            cut = pool.submit(post, base, "/v1/chat/completions", asked)
            until(lambda: len(stack.calls()) > before, what="the provider was called")
            os.kill(first.pid, signal.SIGKILL)
            assert isinstance(cut.exception(10), httpx.TransportError)
        first.wait(10)
        time.sleep(1)  # what the quickest of the clients that tell nothing wait before they ask again
        gateways.enter_context(another_gateway(stack, "second", "--port", port))
        again = post(base, "/v1/chat/completions", asked)
    assert again.json()["choices"][0]["message"]["content"]
    assert len(stack.calls()) - before == 1


def test_who_wants_it_so_has_the_job_cancelled_by_leaving(stack: Stack, base: str) -> None:
    asked = body("[[rehearsal latency=20000]] Stop.", headrace={"on_disconnect": "cancel"})
    with left_behind(stack, base, "/v1/chat/completions", asked) as job:
        until(lambda: state_of(stack, job) == b"cancelled", what="it is cancelled")
    other = ask(f"{base}/v1/jobs", "POST", asked)
    assert (other.status, other.json["error"]["param"]) == (400, "headrace.on_disconnect")


def test_a_stream_that_is_left_is_cancelled_too(stack: Stack, base: str) -> None:
    asked = body("[[rehearsal latency=20000]] Stop this.", headrace={"on_disconnect": "cancel"}, stream=True)
    with left_behind(stack, base, "/v1/chat/completions", asked) as job:
        until(lambda: state_of(stack, job) == b"cancelled", what="it is cancelled")


def test_a_long_answer_shows_signs_of_life(base: str) -> None:
    parts = urlsplit(base)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=40)
    with contextlib.closing(connection):
        asked = httpx.Request("POST", base, json=body("[[rehearsal latency=12000]] Patience.")).content
        connection.request("POST", "/v1/chat/completions", asked, {"content-type": "application/json"})
        answer = connection.getresponse()
        first = answer.read(1)
        assert (answer.status, first) == (200, b" ")
        assert answer.getheader("x-headrace-job")
        rest = httpx.Response(200, content=first + answer.read()).json()
    assert rest["choices"][0]["message"]["content"]


def test_a_failure_after_the_first_blank_is_no_answer_and_the_repeat_is_told_it(stack: Stack, base: str) -> None:
    asked, before = body("[[rehearsal latency=11500 fault=400]] Late failure."), len(stack.calls())
    with pytest.raises(httpx.RemoteProtocolError):
        post(base, "/v1/chat/completions", asked)
    again = post(base, "/v1/chat/completions", asked)
    assert again.status_code == 400, again.text
    assert len(stack.calls()) - before == 1
