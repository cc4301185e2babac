"""The three provider classes over real HTTP, each in its own dialect, and hostile providers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from headrace_providers import ChatCompletion, OpenAIChatCompletion, OpenRouterChatCompletion, VLLMChatCompletion
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.transport import Deadlines
from stack import until

from headrace.chat.tools import define
from headrace.errors import CallError

pytestmark = pytest.mark.usefixtures("each_transport")

CLASSES = {"": OpenAIChatCompletion, "/vllm": VLLMChatCompletion, "/openrouter": OpenRouterChatCompletion}
THINKING = {"": {}, "/vllm": {"enable_thinking": True}, "/openrouter": {"reasoning_effort": "low"}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ready = tmp_path_factory.mktemp("rehearsal") / "ready.json"
    command = [sys.executable, "-m", "headrace_rehearsal", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until(ready.exists, what="rehearsal is up")
    yield json.loads(Path(ready).read_text())["url"]
    process.terminate()
    process.wait()


def model(url: str, prefix: str, **words: Any) -> ChatCompletion:
    return CLASSES[prefix]("small", base_url=f"{url}{prefix}/v1", api_key="none-such", retry=False, **words)


@pytest.mark.parametrize("prefix", CLASSES)
async def test_plain_awaited_and_streamed_are_the_same(url: str, prefix: str) -> None:
    made = model(url, prefix, temperature=0, max_tokens=200, **THINKING[prefix])
    plain = await asyncio.to_thread(made, "The sky is blue and wide.")
    awaited = await made.acall("The sky is blue and wide.")
    async with await made.acall("The sky is blue and wide.", stream=True) as stream:
        pieces = [piece async for piece in stream.consume()]
        thoughts = [piece async for piece in stream.consume_reasoning()]
    assert plain.data == awaited.data == "".join(pieces) == stream.data
    assert len(pieces) > 1
    assert plain.reasoning == stream.reasoning == ("".join(thoughts) or None)
    assert (plain.reasoning is None) is (prefix == "")
    assert plain.metadata["usage"] == stream.metadata["usage"]
    if prefix == "/openrouter":
        for metadata in (plain.metadata, stream.metadata):
            assert metadata["native_finish_reason"] == "end_turn"
            assert metadata["provider"] == "Rehearsal"
            assert metadata["cost"] == metadata["usage"]["cost"] > 0
            assert metadata["reasoning_details"][0]["text"] == plain.reasoning
    await made.close()


@pytest.mark.parametrize("prefix", CLASSES)
async def test_tools_and_schemas(url: str, prefix: str) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    made = model(url, prefix)
    calls = (await made.acall("Weather in Bern?", tool_definitions=define(weather, choice="weather"))).data
    assert [call.name for call in calls.get_calls()] == ["weather"]
    async with await made.acall("Weather?", stream=True, tool_definitions=define(weather, choice="required")) as stream:
        response = await stream.response()
    assert response.data.get_calls()[0].arguments.keys() == {"city"}

    class Counts(msgspec.Struct):
        counts: dict[str, int]
        note: str | None = None

    structured = await made.acall("apples: 3", generation_schema=Counts)
    assert all(isinstance(count, int) for count in structured.data["counts"].values())
    assert structured.data.keys() == {"counts", "note"}
    await made.close()


@pytest.mark.parametrize("prefix", CLASSES)
async def test_an_error_in_the_middle_of_a_stream(url: str, prefix: str) -> None:
    made = model(url, prefix)
    stream = await made.acall("[[rehearsal fault=stream_error after=2]] The sky is blue.", stream=True)
    with pytest.raises(CallError, match="broke off") as raised:
        await stream.response()
    assert raised.value.code == "provider_error"
    assert raised.value.retryable
    assert raised.value.partial
    await made.close()


@pytest.mark.parametrize("prefix", CLASSES)
@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "auth", False),
        (402, "payment", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (409, "provider_unavailable", True),
        (422, "invalid_request", False),
        (429, "rate_limited", True),
        (500, "provider_unavailable", True),
        (503, "provider_unavailable", True),
    ],
)
async def test_every_status_has_its_code(url: str, prefix: str, status: int, code: str, retryable: bool) -> None:
    made = model(url, prefix)
    for stream in (False, True):
        with pytest.raises(CallError) as raised:
            await made.acall(f"[[rehearsal fault={status} retry_after=7]] x", stream=stream)
        assert (raised.value.code, raised.value.status, raised.value.retryable) == (code, status, retryable)
        assert raised.value.retry_after_s == 7
    await made.close()


async def test_c027_the_timeout_over_a_real_socket(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_TIMEOUT", "0.5")
    made = model(url, "")
    assert (await made.acall("The sky is blue.")).data
    begun = time.monotonic()
    with pytest.raises(CallError) as raised:
        await made.acall("[[rehearsal fault=hang]] x")
    assert raised.value.code == "timeout"
    assert time.monotonic() - begun < 20
    await made.close()


Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def provider(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def hostile(body: bytes, *, endless: bool = False, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            await response.write(body)
            while endless:
                await response.write(body)
            await response.write_eof()
        except ConnectionError:
            pass
        return response

    return answer


CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
DEEP = b"[" * 100_000
PLAIN = {
    "truncated": b'{"id":"c","choices":[{"mess',
    "not JSON": b"<html>",
    "nested deep": b'{"choices":' + DEEP,
    "NaN": b'{"id":"c","choices":[{"message":{"content":NaN},"finish_reason":"stop"}]}',
    "no object": b"[]",
    "no UTF-8": b'{"id":"\xff\xfe"}',
    "nothing": b"",
}
STREAMED = {
    "truncated": CHUNK + b'data: {"id":"c","cho',
    "not JSON": b"data: <html>\n\n",
    "nested deep": b"data: " + DEEP + b"\n\n",
    "NaN": b'data: {"id":"c","choices":[{"index":0,"delta":{"content":NaN}}]}\n\n',
    "no object": b"data: 5\n\n",
    "no UTF-8": b'data: {"id":"\xff\xfe"}\n\n',
    "no finish reason": CHUNK + b"data: [DONE]\n\n",
    "nothing": b"",
}


@pytest.mark.parametrize("what", PLAIN)
async def test_a_hostile_answer_is_a_typed_error(what: str) -> None:
    async with provider(hostile(PLAIN[what])) as url:
        made = model(url, "")
        with pytest.raises(CallError) as raised:
            await made.acall("x")
        assert raised.value.code == "provider_error"
        await made.close()


@pytest.mark.parametrize("what", STREAMED)
async def test_a_hostile_stream_is_a_typed_error(what: str) -> None:
    async with provider(hostile(STREAMED[what], **{"Content-Type": "text/event-stream"})) as url:
        made = model(url, "")
        with pytest.raises(CallError) as raised:
            await (await made.acall("x", stream=True)).response()
        assert raised.value.code in {"provider_error", "incomplete_stream"}
        await made.close()


async def whole(made: ChatCompletion, *, stream: bool) -> Any:
    answer = await made.acall("x", stream=stream)
    return await answer.response() if stream else answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [CHUNK * 100, b"x" * 65536, b"data: " + b"x" * 65536])
async def test_an_answer_without_an_end_is_broken_off(stream: bool, body: bytes) -> None:
    most = 2 << 20
    async with provider(hostile(body, endless=True)) as url:
        made = model(url, "", transport=transport_of()(most_bytes=most, deadlines=Deadlines(total_s=30)))
        tracemalloc.start()
        with pytest.raises(CallError) as raised:
            await whole(made, stream=stream)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert raised.value.code == "provider_error"
        assert "larger than" in str(raised.value)
        assert peak < 40 * most
        await made.close()


async def test_a_compressed_answer_is_refused() -> None:
    async with provider(hostile(b"\x1f\x8b", **{"Content-Encoding": "gzip"})) as url:
        made = model(url, "")
        with pytest.raises(CallError, match="compressed"):
            await made.acall("x")
        await made.close()


async def test_an_error_page_is_cut_and_scrubbed() -> None:
    async def answer(request: web.Request) -> web.Response:
        key = request.headers["Authorization"]
        return web.json_response({"error": {"message": f"{key} is wrong {'x' * 10_000}"}}, status=401)

    async with provider(answer) as url:
        made = model(url, "")
        with pytest.raises(CallError) as raised:
            await made.acall("x")
        assert "none-such" not in str(raised.value)
        assert len(str(raised.value)) < 600
        await made.close()


def test_a_sync_caller_need_not_close_anything(url: str) -> None:
    program = (
        "import sys, gc\n"
        "from headrace_providers import OpenAIChatCompletion\n"
        "for _ in range(2):\n"
        "    model = OpenAIChatCompletion('small', base_url=sys.argv[1], api_key='none-such')\n"
        "    print(bool(model('The sky is blue.').data))\n"
        "    del model\n"
        "    gc.collect()\n"
    )
    command = [sys.executable, "-X", "dev", "-c", program, f"{url}/v1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "True\nTrue\n"
    assert "Unclosed" not in ended.stderr


async def test_nobody_there() -> None:
    made = model("http://127.0.0.1:9", "")
    with pytest.raises(CallError, match="refused") as raised:
        await made.acall("x")
    assert (raised.value.code, raised.value.retryable) == ("connection", True)
    await made.close()
