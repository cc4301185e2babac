"""Several tokens in one request, or none: one good one is enough, wherever it stands, and the best reason is said."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateways import another_gateway, ask, code_of
from headrace_api.auth import Gate
from stack import Stack
from websockets.asyncio.client import connect

SECRET = "a secret for this test alone"

BODY = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def shut(stack: Stack) -> Iterator[str]:
    """A gateway that demands tokens."""
    variables = {"HEADRACE_STREAM_SECRET": SECRET, "HEADRACE_GATEWAY_OPEN": "0"}
    with another_gateway(stack, "shut", **variables) as (base, _):
        yield base


BAD = ["expired", "foreign", "other", "scope", "junk"]


def bad_token(kind: str, job: str) -> str:
    gate = Gate(SECRET.encode(), is_open=False)
    return {
        "expired": gate.sign(job, ["read"], lasts_s=-1),
        "foreign": Gate(b"of yesterday", is_open=False).sign(job, ["read"]),
        "other": gate.sign("job_" + "b" * 26, ["read"]),
        "scope": gate.sign(job, ["cancel"]),
        "junk": "x",
    }[kind]


@pytest.mark.parametrize("bad", BAD)
async def test_one_good_token_is_enough_whatever_comes_beside_it(shut: str, bad: str) -> None:
    gate = Gate(SECRET.encode(), is_open=False)
    owner = gate.sign("*", ("submit", "read"))
    job = ask(f"{shut}/v1/jobs", "POST", BODY, authorization=f"Bearer {owner}").json["id"]
    good, other = gate.sign(job, ["read"]), bad_token(bad, job)
    url = f"{shut}/v1/jobs/{job}"
    assert ask(f"{url}?st={other}", authorization=f"Bearer {good}").status == 200
    assert ask(url, authorization=f"Bearer {good}", cookie=f"headrace_token={other}").status == 200
    assert ask(f"{url}?st={good}", cookie=f"headrace_token={other}").status == 200
    assert ask(f"{url}?st={other}&st={good}").status == 200
    assert ask(url, cookie=f"headrace_token={other}; headrace_token={good}").status == 200
    assert ask(url, cookie=f"headrace_token={good}; headrace_token={other}").status == 200
    stale = {"Cookie": f"headrace_token={other}"}
    protocols: Any = ["headrace.v1", f"bearer.{good}"]
    assert await code_of(shut, f"?job={job}", subprotocols=protocols, additional_headers=stale) == 1000
    assert await code_of(shut, f"?job={job}&st={good}", additional_headers=stale) == 1000
    async with asyncio.timeout(20), connect(f"ws{shut[4:]}/v1/stream", additional_headers=stale) as connection:
        await connection.send(json.dumps({"op": "sub", "job": job, "token": good}))
        while (frame := json.loads(await connection.recv()))["t"] != "closed":
            pass
        assert frame["code"] == 1000


def test_when_all_tokens_are_bad_the_best_reason_is_said(shut: str) -> None:
    gate = Gate(SECRET.encode(), is_open=False)
    job = ask(f"{shut}/v1/jobs", "POST", BODY, authorization=f"Bearer {gate.sign('*', ['submit'])}").json["id"]
    url = f"{shut}/v1/jobs/{job}"
    for first, second, status, reason in (
        ("expired", "foreign", 401, "expired"),
        ("foreign", "expired", 401, "expired"),
        ("expired", "other", 401, "expired"),
        ("junk", "foreign", 401, "not signed here"),
        ("other", "scope", 403, "does not allow"),
    ):
        cookie = f"headrace_token={bad_token(first, job)}"
        answer = ask(f"{url}?st={bad_token(second, job)}", cookie=cookie)
        assert answer.status == status, (first, second)
        assert reason in answer.json["error"]["message"], (first, second)


JOB = "job_" + "a" * 26

UNWELCOME: dict[str, list[bytes]] = {
    "silence": [],
    "pings": [bytes([0x89, 0x80, 0, 0, 0, 0])],
    "unsub": [json.dumps({"op": "unsub", "job": JOB}).encode()],
    "subs without a token": [json.dumps({"op": "sub", "job": JOB + c}).encode() for c in "abcdefghijklmnopqrstuvwxyz"],
    "cancels": [json.dumps({"op": "cancel", "job": JOB}).encode()],
    "a token that does not allow": [
        json.dumps({"op": "sub", "job": JOB + c, "token": "TOKEN"}).encode() for c in "abcdefghijklmnopqrstuvwxyz"
    ],
    "a fragment": [b"FRAGMENT"],
    "empty fragments": [bytes([0x01, 0x80, 0, 0, 0, 0]), bytes([0x00, 0x80, 0, 0, 0, 0])],
    "half a frame": [bytes([0x81, 0xFE, 0x10, 0x00, 0, 0, 0, 0]) + b"x"],
    "pings of one who never reads": [bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + b"x" * 125] * 200,
}


def frame_of(text: bytes) -> bytes:
    """A text frame as a client sends it, masked with zeros; what is one already stays."""
    if text[:1] in (b"{",):
        size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126, *len(text).to_bytes(2, "big")])
        return b"\x81" + size + b"\0\0\0\0" + text
    return bytes([0x01, 0x81, 0, 0, 0, 0]) + b"{" if text == b"FRAGMENT" else text


@pytest.mark.parametrize("what", UNWELCOME)
def test_without_a_token_a_websocket_ends_after_five_seconds_whatever_it_says(shut: str, what: str) -> None:
    host, _, port = shut.removeprefix("http://").partition(":")
    token = bad_token("foreign", JOB)
    said = [frame_of(frame.replace(b"TOKEN", token.encode())) for frame in UNWELCOME[what]]
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Cookie: headrace_token={token}\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 101"
        began, at = time.monotonic(), 0
        connection.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                if said and (at < len(said) or ("fragment" not in what and what != "half a frame")):
                    with contextlib.suppress(TimeoutError):
                        connection.sendall(said[at % len(said)])
                    at += 1
                if "never reads" in what:
                    time.sleep(0.001)
                    continue
                try:
                    if connection.recv(1 << 16) == b"":
                        break
                except TimeoutError:
                    continue
        lasted_s = time.monotonic() - began
        assert 4 < lasted_s < 11, f"{what}: {lasted_s:.1f} s"


@pytest.mark.parametrize("lines", [("cookie", "cookie"), ("authorization", "authorization")])
def test_one_good_token_is_enough_in_whichever_line_it_stands(shut: str, lines: tuple[str, str]) -> None:
    gate = Gate(SECRET.encode(), is_open=False)
    job = ask(f"{shut}/v1/jobs", "POST", BODY, authorization=f"Bearer {gate.sign('*', ['submit'])}").json["id"]
    good, parts = gate.sign(job, ["read"]), urlsplit(shut)
    assert parts.hostname
    for first, second in (("x", good), (good, "x"), ("x", f'"{good}"')):
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.putrequest("GET", f"/v1/jobs/{job}")
        for name, token in zip(lines, (first, second), strict=True):
            connection.putheader(
                name, f"headrace_token={token}" if name == "cookie" else f"Bearer {token.strip(chr(34))}"
            )
        connection.endheaders()
        assert connection.getresponse().status == 200, (first == good, second)
        connection.close()
