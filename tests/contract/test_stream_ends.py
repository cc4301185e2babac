"""A complete stream is complete, however its connection ends; one that is not is none. Over bare sockets."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bare_provider import JSON_HEAD, SSE_HEAD, BareProvider, End, Reply, bare_provider, event
from fake_transport import USAGE, answer, piece
from headrace_providers import OpenAIChatCompletion
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire import answer_end
from headrace_providers.wire.transport import Deadlines

from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job

pytestmark = pytest.mark.usefixtures("each_transport")

TEXT = [piece(content="he"), piece(content="llo")]
STOP = piece("stop")
LAST: dict[str, Any] = {"id": "c", "choices": [], "usage": USAGE}
DONE = "[DONE]"
MAX_AT_ONCE_S = 4.0
"""A busy machine's half second."""


@pytest.fixture
async def provider() -> AsyncIterator[BareProvider]:
    async with bare_provider() as provider:
        yield provider


async def ask(provider: BareProvider, *, stream: bool = True, **deadlines: float) -> Completion:
    transport = transport_of()(deadlines=Deadlines(**{"first_token_s": 20, "idle_s": 20, "total_s": 30} | deadlines))
    model = OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False, transport=transport)
    try:
        job = Job(model="openai/m", messages=[{"role": "user", "content": "x"}], stream=stream)
        return await model.complete(job, on_delta=(lambda _: None) if stream else None)
    finally:
        await model.close()


def events(*data: Any) -> list[bytes | float]:
    return [b"".join(event(each) for each in data)]


@pytest.mark.parametrize("end", ["clean", "open", "fin", "reset"])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("apart", [False, True])
async def test_reason_and_usage_are_the_end(provider: BareProvider, end: End, done: bool, apart: bool) -> None:
    data = [*TEXT, STOP, LAST, *([DONE] if done else [])]
    # A reset also throws away what the other side has not yet read: then it has to come earlier.
    pieces = [event(each) for each in data] if apart else events(*data)
    provider.reply = Reply([*pieces, *([0.3] if end == "reset" else [])], end=end)
    begun = time.monotonic()
    completion = await ask(provider)
    assert (completion.content, completion.finish_reason, completion.raw_usage) == ("hello", "stop", USAGE)
    assert completion.notes == []
    assert time.monotonic() - begun < MAX_AT_ONCE_S


@pytest.mark.parametrize("end", ["clean", "fin", "open"])
async def test_a_reason_without_usage_is_an_end_too(
    provider: BareProvider, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_end, "USAGE_WAIT_S", 1.0)
    provider.reply = Reply(events(*TEXT, STOP), end=end)
    completion = await ask(provider)
    assert (completion.content, completion.raw_usage) == ("hello", None)


async def test_a_usage_that_comes_a_little_later_is_waited_for(provider: BareProvider) -> None:
    provider.reply = Reply([*events(*TEXT, STOP), 1.0, event(LAST)], end="open")
    assert (await ask(provider)).raw_usage == USAGE


@pytest.mark.parametrize("end", ["clean", "fin", "open"])
async def test_usage_and_done_without_a_reason(provider: BareProvider, end: End) -> None:
    provider.reply = Reply(events(*TEXT, LAST, DONE), end=end)
    completion = await ask(provider)
    assert (completion.content, completion.finish_reason) == ("hello", "stop")
    assert completion.notes == ["finish_reason: stop is inferred"]


@pytest.mark.parametrize("end", ["clean", "fin", "reset"])
@pytest.mark.parametrize("data", [TEXT, [*TEXT, LAST], [*TEXT, DONE]], ids=["nothing", "usage", "done"])
async def test_without_both_a_stream_has_no_end(provider: BareProvider, end: End, data: list[Any]) -> None:
    provider.reply = Reply([*events(*data), *([0.3] if end == "reset" else [])], end=end)
    with pytest.raises(CallError) as raised:
        await ask(provider)
    assert raised.value.code in ("incomplete_stream", "connection")
    assert raised.value.partial == "hello"


async def test_a_reason_in_every_chunk_is_no_end(provider: BareProvider) -> None:
    provider.reply = Reply([event(piece("stop", content="he")), 1.0, event(piece("stop", content="llo"))])
    assert (await ask(provider)).content == "hello"


async def test_an_event_cut_off_after_the_end_spoils_nothing(provider: BareProvider) -> None:
    provider.reply = Reply([*events(*TEXT, STOP, LAST), b'data: {"id":"c","cho'], end="fin")
    assert (await ask(provider)).content == "hello"


@pytest.mark.parametrize("end", ["clean", "fin", "open"])
async def test_a_plain_answer_is_whole_when_its_json_is(provider: BareProvider, end: End) -> None:
    body = b'{"id":"c","choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}'
    provider.reply = Reply([body], JSON_HEAD, end=end)
    assert (await ask(provider, stream=False)).content == "hello"


@pytest.mark.parametrize("headers", [JSON_HEAD, SSE_HEAD, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("end", ["clean", "open", "fin"])
async def test_a_json_body_in_answer_to_a_stream_is_one_chunk(
    provider: BareProvider, headers: dict[str, str], indent: int | None, end: End
) -> None:
    body = json.dumps(answer("hello"), indent=indent).encode()
    provider.reply = Reply([body[:9], body[9:]], headers, end=end)
    completion = await ask(provider, first_token_s=5, idle_s=5)
    assert (completion.content, completion.raw_usage) == ("hello", USAGE)


async def test_events_in_answer_to_a_plain_call_are_read(provider: BareProvider) -> None:
    provider.reply = Reply(events(*TEXT, STOP, LAST, DONE))
    completion = await ask(provider, stream=False)
    assert (completion.content, completion.raw_usage) == ("hello", USAGE)


@pytest.mark.parametrize("sign", [b": PROCESSING\n\n", event(piece(content="")), event({"id": "c", "choices": []})])
async def test_comments_and_empty_chunks_prove_life(provider: BareProvider, sign: bytes) -> None:
    waiting = [part for _ in range(5) for part in (sign, 0.3)]
    provider.reply = Reply([*waiting, *events(TEXT[0]), *waiting, *events(TEXT[1], STOP, LAST, DONE)])
    assert (await ask(provider, first_token_s=1.2, idle_s=1.2)).content == "hello"


@pytest.mark.parametrize("before", [[], [event(TEXT[0])]])
async def test_silence_proves_nothing(provider: BareProvider, before: list[bytes | float]) -> None:
    provider.reply = Reply([*before, 20.0])
    with pytest.raises(CallError) as raised:
        await ask(provider, first_token_s=0.6, idle_s=0.6)
    assert raised.value.code == "timeout"


def packed(data: bytes, encoding: str) -> list[bytes | float]:
    """The bytes compressed, in pieces that each can be read when they come."""
    window = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw": -15}[encoding]
    packer, pieces = zlib.compressobj(wbits=window), []
    for at in range(0, len(data), 50):
        pieces.append(packer.compress(data[at : at + 50]) + packer.flush(zlib.Z_SYNC_FLUSH))
    return [*pieces, packer.flush()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw"])
async def test_a_compressed_answer_is_read(provider: BareProvider, encoding: str, stream: bool) -> None:
    head = {"Content-Encoding": "deflate" if encoding == "raw" else encoding}
    body = (
        b"".join(event(each) for each in (*TEXT, STOP, LAST, DONE)) if stream else json.dumps(answer("hello")).encode()
    )
    provider.reply = Reply(packed(body, encoding), head | (SSE_HEAD if stream else JSON_HEAD))
    completion = await ask(provider, stream=stream)
    assert (completion.content, completion.raw_usage) == ("hello", USAGE)


@pytest.mark.parametrize("stream", [False, True])
async def test_gzip_in_several_members_is_read(provider: BareProvider, stream: bool) -> None:
    body = (
        b"".join(event(each) for each in (*TEXT, STOP, LAST, DONE)) if stream else json.dumps(answer("hello")).encode()
    )
    members = [
        b"".join(part for part in packed(half, "gzip") if isinstance(part, bytes)) for half in (body[:70], body[70:])
    ]
    provider.reply = Reply([b"".join(members)], {"Content-Encoding": "gzip"} | (SSE_HEAD if stream else JSON_HEAD))
    assert (await ask(provider, stream=stream)).content == "hello"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_small_body_that_unpacks_without_an_end_is_broken_off(provider: BareProvider, stream: bool) -> None:
    bomb = zlib.compressobj(wbits=31)
    packed_bytes = bomb.compress(b"data: " + bytes(64 << 20)) + bomb.flush()
    provider.reply = Reply([packed_bytes], {"Content-Encoding": "gzip"} | (SSE_HEAD if stream else JSON_HEAD))
    with pytest.raises(CallError, match="larger than"):
        await ask(provider, stream=stream)


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
async def test_fails_cleanly_on_a_body_that_is_not_compressed_as_declared(
    provider: BareProvider, encoding: str, stream: bool
) -> None:
    provider.reply = Reply([b"data: {}\n\n"], {"Content-Encoding": encoding} | SSE_HEAD)
    with pytest.raises(CallError, match="compressed"):
        await ask(provider, stream=stream)


async def test_a_compressed_stream_that_is_cut_is_no_answer(provider: BareProvider) -> None:
    pieces = packed(b"".join(event(each) for each in TEXT), "gzip")
    provider.reply = Reply(pieces[:-1], {"Content-Encoding": "gzip"} | SSE_HEAD)
    with pytest.raises(CallError) as raised:
        await ask(provider)
    assert (raised.value.code, raised.value.partial) == ("connection", "hello")


@pytest.mark.parametrize("end", ["clean", "open", "fin", "reset"])
@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_in_answer_to_a_plain_request_ends_as_a_stream_does(
    provider: BareProvider, end: End, done: bool
) -> None:
    pieces = events(*TEXT, STOP, LAST, *([DONE] if done else []))
    provider.reply = Reply([*pieces, *([0.3] if end == "reset" else [])], end=end)
    begun = time.monotonic()
    completion = await ask(provider, stream=False)
    assert (completion.content, completion.finish_reason, completion.raw_usage) == ("hello", "stop", USAGE)
    assert time.monotonic() - begun < MAX_AT_ONCE_S


@pytest.mark.parametrize("end", ["open", "reset"])
async def test_an_object_of_no_said_length_is_whole_at_its_end(provider: BareProvider, end: End) -> None:
    provider.reply = Reply(
        [json.dumps(answer("hello")).encode(), *([0.3] if end == "reset" else [])], headers=JSON_HEAD, end=end
    )
    begun = time.monotonic()
    completion = await ask(provider, stream=False)
    assert completion.content == "hello"
    assert time.monotonic() - begun < MAX_AT_ONCE_S
