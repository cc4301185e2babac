"""A key never leaves: whatever the provider says, however it breaks HTTP, in no error, no result, no log."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from bare_provider import JSON_HEAD, SSE_HEAD, BareProvider, End, Reply, bare_provider, event
from fake_transport import answer, piece
from headrace_providers import OpenAIChatCompletion
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.transport import Deadlines

from headrace.batches.outputs.output_lines import error_line, success_line
from headrace.chat.completion import encode_success
from headrace.chat.options import Options
from headrace.errors import CallError, Failure
from headrace.jobs.job import Job

pytestmark = pytest.mark.usefixtures("each_transport")

KEY = "gsk_0123.45~67+89/abc=="
OTHER = "or-v1-abcdefghijkl"
ECHO = f"Authorization: Bearer {KEY}; helicone {OTHER}"
HEADERS = {"X-Trace-Token": OTHER}


@pytest.fixture
async def provider() -> AsyncIterator[BareProvider]:
    async with bare_provider() as provider:
        yield provider


@pytest.fixture
async def model(provider: BareProvider) -> AsyncIterator[OpenAIChatCompletion]:
    transport = transport_of()(deadlines=Deadlines(first_token_s=5, idle_s=5, total_s=10))
    model = OpenAIChatCompletion("m", base_url=provider.url, api_key=KEY, retry=False, transport=transport)
    yield model
    await model.close()


async def result_of(model: OpenAIChatCompletion, *, stream: bool) -> bytes:
    """All that would be stored or shown of the call, one way or the other."""
    job = Job(
        model="openai/m",
        messages=[{"role": "user", "content": "x"}],
        stream=stream,
        options=Options(extra_headers=HEADERS),
    )
    try:
        completion = await model.complete(job)
    except CallError as error:
        failure = Failure.of(error)
        shown = [str(error), repr(error), error.message, str(error.details), str(error.partial), str(error.__cause__)]
        return msgspec.json.encode([failure, *shown]) + error_line("a", "r", failure)
    return encode_success(completion)[0] + success_line("a", "r", completion)


def check(
    said: bytes, provider: BareProvider, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert KEY.encode() in provider.requests[-1], "the key was sent"
    assert OTHER.encode() in provider.requests[-1]
    gc.collect()
    shown = capsys.readouterr()
    for secret in (KEY, OTHER):
        for where in (said.decode(), shown.out, shown.err, caplog.text):
            assert secret not in where


ERRORS: dict[str, Any] = {
    "message": {"error": {"message": ECHO, "code": 500}},
    "text": {"error": ECHO},
    "code": {"error": {"message": "no", "code": ECHO, "type": ECHO}},
    "raw": {"error": {"message": "no", "metadata": {"raw": json.dumps({"error": {"message": ECHO}})}}},
    "detail": {"detail": [{"loc": ["header", ECHO], "msg": ECHO, "type": "value_error"}]},
    "object": {"object": "error", "message": ECHO},
    "choice": {"id": "c", "choices": [{"index": 0, "error": {"message": ECHO}}]},
    "names": {"error": {ECHO: 1}},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "500 Server Error"])
@pytest.mark.parametrize("what", ERRORS)
async def test_an_error_that_echoes_the_key(
    what: str,
    status: str,
    stream: bool,
    provider: BareProvider,
    model: OpenAIChatCompletion,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sse = stream and status.startswith("200")
    body = event(piece(content="half")) + event(ERRORS[what]) if sse else json.dumps(ERRORS[what]).encode()
    provider.reply = Reply([body], SSE_HEAD if sse else JSON_HEAD, status=status)
    said = await result_of(model, stream=stream)
    check(said, provider, capsys, caplog)
    assert b"invalid" in said or b"provider" in said


@pytest.mark.parametrize("stream", [False, True])
async def test_a_side_field_that_echoes_the_key(
    stream: bool,
    provider: BareProvider,
    model: OpenAIChatCompletion,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    echo = {"request": {"headers": [ECHO]}}
    script = answer(annotations=echo) | {"service_tier": echo, "created": ECHO}
    chunk = piece("stop", content="hi", annotations=echo) | {"service_tier": echo, "created": ECHO}
    provider.reply = Reply(
        [event(chunk)] if stream else [json.dumps(script).encode()], SSE_HEAD if stream else JSON_HEAD
    )
    said = await result_of(model, stream=stream)
    check(said, provider, capsys, caplog)
    assert b'"hi"' in said


HTTP: dict[str, bytes] = {
    "no HTTP": b"garbage\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "a bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nbad header\x00: x\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nA: b\r\n\r: c\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "a length that is not kept": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a chunk without its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX",
    "a negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "only a 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: \x7f://\r\nContent-Length: 0\r\n\r\n",
    "an unknown charset": b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=\xff\r\nContent-Length: 2\r\n\r\n{}",
    "an unknown encoding": b"HTTP/1.1 500 No\r\nContent-Encoding: zzz\r\nContent-Length: 2\r\n\r\n{}",
    "an error that is cut": b"HTTP/1.1 500 No\r\nContent-Length: 900\r\n\r\n{",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("what", HTTP)
async def test_http_that_is_none_is_a_call_error(
    what: str,
    end: End,
    stream: bool,
    provider: BareProvider,
    model: OpenAIChatCompletion,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    provider.reply = Reply([], head=HTTP[what] or b" ", end=end)
    said = await result_of(model, stream=stream)
    assert b'"code":"' in said
    check(said, provider, capsys, caplog)
    await model.close()
    assert not [each for each in complaints if KEY in str(each) + repr(each.get("exception"))]
