"""`GET /v1/batches/{id}/results`: broken off by a deploy it is taken up again, and a client that reads nothing is dropped."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Iterator

import pytest
from batches_api import SLOW, create, line
from gateways import another_gateway, ask
from openai import OpenAI
from stack import Stack, until


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


@contextlib.contextmanager
def followed(base: str, batch: str, after: int = 0) -> Iterator[http.client.HTTPResponse]:
    host, port = base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/batches/{batch}/results?after={after}")
        yield connection.getresponse()


def streams(base: str) -> int:
    return ask(f"{base}/healthz").json["streams"]


def test_a_deploy_breaks_it_off_and_it_goes_on_elsewhere(stack: Stack, base: str, official: OpenAI) -> None:
    batch = create(official, [*(line(f"r{n}") for n in range(3)), line("slow", messages=SLOW)])
    seen: list[str] = []
    with another_gateway(stack, "deployed") as (old, process), followed(old, batch.id) as answer:
        while len(seen) < 3:
            if text := answer.readline().strip():
                seen.append(json.loads(text)["custom_id"])
        process.send_signal(signal.SIGTERM)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        assert process.wait(20) == 0
    official.batches.cancel(batch.id)
    with followed(base, batch.id, after=len(seen)) as answer:
        rest = [json.loads(text) for text in answer.read().splitlines() if text]
    assert seen == ["r0", "r1", "r2"]
    assert [(each["custom_id"], each["error"]["code"]) for each in rest] == [("slow", "batch_cancelled")]


def test_a_client_that_leaves_or_reads_nothing_is_let_go(stack: Stack, official: OpenAI) -> None:
    """Half a million bytes and more: what fits into the buffers of two sockets is soon sent."""
    text = "Say all of this: " + "word " * 1500
    batch = create(official, [line(f"r{n}", messages=[{"role": "user", "content": text}]) for n in range(1500)])
    until(lambda: official.batches.retrieve(batch.id).status == "completed", what="it has run")
    with another_gateway(stack, "stalled", HEADRACE_SLOW_READER_S="0.5") as (base, _):
        host, port = base.removeprefix("http://").split(":")
        with socket.socket() as stalled, socket.create_connection((host, int(port))) as leaving:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((host, int(port)))
            request = f"GET /v1/batches/{batch.id}/results HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
            for connection in (stalled, leaving):
                connection.sendall(request)
            assert leaving.recv(100)
            leaving.close()
            until(lambda: streams(base) <= 1, what="who left is gone")
            until(lambda: streams(base) == 0, what="who reads nothing is gone")


def test_a_quiet_one_is_kept_open(stack: Stack, official: OpenAI) -> None:
    batch = create(official, [line("slow", messages=SLOW)])
    with another_gateway(stack, "quiet", HEADRACE_HEARTBEAT_S="0.1") as (base, _), followed(base, batch.id) as answer:
        assert [answer.readline() for _ in range(5)] == [b"\n"] * 5
        assert streams(base) == 1
        official.batches.cancel(batch.id)
        assert [json.loads(text)["custom_id"] for text in answer.read().splitlines() if text] == ["slow"]
    until(lambda: official.batches.retrieve(batch.id).status == "cancelled", what="it has ended")


def test_there_are_not_more_of_them_than_streams(stack: Stack, official: OpenAI) -> None:
    batch = create(official, [line("slow", messages=SLOW)])
    with another_gateway(stack, "few", HEADRACE_GATEWAY_STREAMS="1") as (base, _), followed(base, batch.id) as answer:
        assert answer.readline() == b"\n"
        refused = ask(f"{base}/v1/batches/{batch.id}/results")
        assert (refused.status, refused.json["error"]["code"]) == (429, "too_many_streams")
    official.batches.cancel(batch.id)


def test_of_a_batch_that_was_refused_there_are_none(base: str, official: OpenAI) -> None:
    """While it is checked it is followed; what follows is broken off, and who asks then is told."""
    batch = create(official, [line("r1"), line("r1")])
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError), followed(base, batch.id) as answer:
        assert answer.status == 409 or answer.read() is None
    until(lambda: official.batches.retrieve(batch.id).status == "failed", what="it is refused")
    again = ask(f"{base}/v1/batches/{batch.id}/results")
    assert (again.status, again.json["error"]["code"]) == (409, "batch_failed")
    assert again.headers["x-should-retry"] == "false"
