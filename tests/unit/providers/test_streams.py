"""Streams: what a consumer sees, and when (statements 107 to 127)."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from fake_transport import USAGE, FakeTransport, answer, model_of, piece
from headrace_providers.response import Stream
from headrace_providers.retry import Retry

from headrace.errors import CallError
from headrace.portal import run

FORMS = ("sync", "async")
pytestmark = pytest.mark.parametrize("form", FORMS)
QUICK = Retry(first_s=0, longest_s=0)
END = {"id": "c", "choices": [], "usage": USAGE}


def start(form: str, transport: FakeTransport, provider: str = "openai", call: Any = None, **words: Any) -> Stream:
    """A stream that has begun, by a call with or without `await`."""
    model = model_of(provider, transport, **{"retry": False, **words})
    if form == "sync":
        return model("x", stream=True, **(call or {}))
    return run(model.acall("x", stream=True, **(call or {})))


def read(form: str, growing: Any) -> list[Any]:
    if form == "sync":
        return list(growing)

    async def all_of_it() -> list[Any]:
        return [item async for item in growing]

    return asyncio.run(all_of_it())


def told(form: str, *chunks: Any, **words: Any) -> tuple[Stream, list[Any]]:
    stream = start(form, FakeTransport(list(chunks)), **words)
    return stream, read(form, stream.consume())


def tool(index: int | None, id: str | None = None, **function: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"function": function} if function else {}
    return call | ({} if index is None else {"index": index}) | ({"id": id} if id else {})


def calls_in(stream: Stream) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in stream.data.get_calls()]


def test_c107_a_stream_asks_for_usage(form: str) -> None:
    transport = FakeTransport()
    start(form, transport).close()
    assert transport.body["stream"] is True
    assert transport.body["stream_options"] == {"include_usage": True}


def test_c108_text_in_pieces(form: str) -> None:
    stream, pieces = told(form, piece(content="he"), piece(content="llo"), piece("stop"), END)
    assert pieces == ["he", "llo"]
    assert (stream.data, stream.response_type) == ("hello", "text_generation")
    assert stream.metadata["usage"] == USAGE
    assert not stream.metadata.keys() & USAGE.keys()
    assert stream.metadata["finish_reason"] == stream.metadata["stop_reason"] == "stop"


def test_c109_usage_on_any_chunk(form: str) -> None:
    first = piece(content="x") | {"usage": {"prompt_tokens": 1}}
    stream, _ = told(form, first, piece("stop") | {"usage": USAGE})
    assert stream.metadata["usage"] == USAGE
    stream, _ = told(form, first, piece("stop"))
    assert stream.metadata["usage"] == {"prompt_tokens": 1}


def test_c110_reasoning_and_content_in_one_delta(form: str) -> None:
    stream, pieces = told(form, piece(reasoning="why", content="so"), piece("stop"))
    assert (pieces, read(form, stream.consume_reasoning())) == (["so"], ["why"])
    assert stream.reasoning == "why"


def test_c111_content_and_a_tool_call_in_one_delta(form: str) -> None:
    stream, pieces = told(
        form, piece(content="so", tool_calls=[tool(0, "a", name="f", arguments="{}")]), piece("tool_calls")
    )
    assert pieces == ["so"]
    assert stream.response_type == "tool_call"
    assert (calls_in(stream), stream.data.text) == ([("f", {})], "so")


def test_d068_text_then_tools_is_a_tool_call(form: str) -> None:
    stream, pieces = told(form, piece(content="so"), piece(tool_calls=[tool(0, "a", name="f")]), piece("tool_calls"))
    assert (pieces, stream.response_type, calls_in(stream)) == (["so"], "tool_call", [("f", {})])


def test_c112_two_tool_deltas_in_one_chunk(form: str) -> None:
    stream, _ = told(form, piece(tool_calls=[tool(0, "a", name="f"), tool(1, "b", name="g")]), piece("tool_calls"))
    assert [name for name, _ in calls_in(stream)] == ["f", "g"]


@pytest.mark.parametrize("odd", [{"name": None}, {"arguments": None}, {}])
def test_c113_a_tool_delta_may_lack_everything(form: str, odd: dict[str, Any]) -> None:
    chunks = [tool(0, "a", name="f"), tool(0, **odd), tool(0, arguments='{"a":1}')]
    stream, _ = told(form, *(piece(tool_calls=[chunk]) for chunk in chunks), piece("tool_calls"))
    assert calls_in(stream) == [("f", {"a": 1})]


def test_c114_arguments_in_pieces(form: str) -> None:
    chunks = [tool(0, "a", name="f"), *(tool(0, arguments=part) for part in ('{"a"', ":", "1}"))]
    stream, _ = told(form, *(piece(tool_calls=[chunk]) for chunk in chunks), piece("tool_calls"))
    assert calls_in(stream) == [("f", {"a": 1})]


def test_c115_another_id_is_another_call(form: str) -> None:
    chunks = [tool(0, "a", name="f", arguments="{}"), tool(0, "b", name="g", arguments="{}")]
    stream, _ = told(form, *(piece(tool_calls=[chunk]) for chunk in chunks), piece("tool_calls"))
    assert calls_in(stream) == [("f", {}), ("g", {})]


def test_c116_a_call_of_tools_alone_begins_with_its_first_delta(form: str) -> None:
    gate = piece(tool_calls=[tool(0, "a", name="f")])
    transport = FakeTransport([gate, 30.0, piece("tool_calls")])
    begun = time.monotonic()
    with start(form, transport) as stream:
        assert time.monotonic() - begun < 10
        assert stream.response_type == "tool_call"
    stream, _ = told(form, gate, piece("tool_calls"))
    assert calls_in(stream) == [("f", {})]


def test_c117_reasoning_before_tools_that_is_not_returned(form: str) -> None:
    chunks = [piece(reasoning="why"), piece(tool_calls=[tool(0, "a", name="f")]), piece("tool_calls")]
    stream, _ = told(form, *chunks, return_reasoning=False)
    assert read(form, stream.consume_reasoning()) == []
    assert stream.reasoning is None
    assert stream.data.reasoning == "why"


def test_c118_late_readers_get_the_whole_stream(form: str) -> None:
    stream, pieces = told(form, piece(content="a"), piece(content="b"), piece("stop"))
    assert pieces == ["a", "b"]
    assert read(form, stream.consume()) == ["a", "b"]  # and a second reader (D78)


def test_c119_an_error_in_the_middle(form: str) -> None:
    broken = {"error": {"code": 502, "message": "gone", "metadata": {"error_type": "provider_unavailable"}}}
    tools = piece(tool_calls=[tool(0, "a", name="f", arguments="{}")])
    stream = start(form, FakeTransport([piece(content="half", reasoning="why") | {"usage": USAGE}, tools, broken]))
    with pytest.raises(CallError, match="gone") as raised:
        read(form, stream.consume())
    assert raised.value.partial == "half"
    assert list(stream.consume().items) == ["half"]
    assert stream.error is raised.value
    assert stream.metadata["usage"] == USAGE
    assert stream.reasoning == "why"
    assert stream.data[0]["function"]["name"] == "f"  # D80


def test_c120_no_finish_reason_is_no_success(form: str) -> None:
    with pytest.raises(CallError) as raised:
        told(form, piece(content="half"))
    assert (raised.value.code, raised.value.partial) == ("incomplete_stream", "half")


def test_c121_a_failure_before_the_first_chunk_is_retried(form: str) -> None:
    transport = FakeTransport(CallError("provider_unavailable", "500", status=500), answer("ok"))
    stream = start(form, transport, retry=QUICK)
    assert read(form, stream.consume()) == ["ok"]
    assert len(transport.requests) == 2


def test_never_after_a_delivered_chunk(form: str) -> None:
    transport = FakeTransport([piece(content="a"), CallError("connection", "broken")], answer("ok"))
    stream = start(form, transport, retry=QUICK)
    with pytest.raises(CallError, match="broken"):
        read(form, stream.consume())
    assert len(transport.requests) == 1


def test_c122_a_wrong_key_is_said_before_any_chunk(form: str) -> None:
    transport = FakeTransport(CallError("auth", "401", status=401))
    with pytest.raises(CallError) as raised:
        start(form, transport, retry=QUICK)
    assert raised.value.code == "auth"
    assert len(transport.requests) == 1


def test_c123_streams_run_side_by_side(form: str) -> None:
    transport = FakeTransport([piece(content="a"), 1.0, piece("stop")])
    begun = time.monotonic()
    threads = [threading.Thread(target=lambda: read(form, start(form, transport).consume())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert time.monotonic() - begun < 4.5  # five in a row would take five seconds
    assert max(transport.times) - min(transport.times) < 0.9


def test_c124_annotations_and_logprobs_of_all_chunks(form: str) -> None:
    def marked(mark: str, finish: str | None = None) -> dict[str, Any]:
        chunk = piece(finish, content=mark, annotations=[{"mark": mark}])
        chunk["choices"][0]["logprobs"] = {"content": [{"token": mark}], "refusal": [{"token": f"no {mark}"}]}
        return chunk

    stream, _ = told(form, marked("a"), marked("b", "stop"))
    assert stream.metadata["annotations"] == [{"mark": "a"}, {"mark": "b"}]
    assert stream.metadata["logprobs"] == {
        "content": [{"token": "a"}, {"token": "b"}],
        "refusal": [{"token": "no a"}, {"token": "no b"}],
    }


def test_c125_nothing_said_and_a_refusal(form: str) -> None:
    stream, pieces = told(form, piece("stop"))
    assert (stream.response_type, stream.data, pieces) == ("text_generation", "", [])
    stream, pieces = told(form, piece(reasoning="why"), piece("stop"))
    assert (stream.response_type, stream.data) == ("text_generation", "")
    stream, pieces = told(form, piece(refusal="N"), piece(refusal="o."), piece("stop"))
    assert (stream.data, stream.metadata["refusal"], pieces) == ("No.", "No.", ["N", "o."])


def test_d070_audio_in_pieces(form: str) -> None:
    chunks = [
        piece(audio={"id": "a", "transcript": "he"}),
        piece(audio={"data": "eA==", "transcript": "llo"}),
        piece(audio={"data": "eXo=", "expires_at": 9}),
        piece("stop"),
    ]
    stream, pieces = told(form, *chunks)
    assert pieces == [b"x", b"yz"]
    assert stream.data == {"id": "a", "audio": b"xyz", "text": "hello", "expires_at": 9}


def test_d063_reasoning_details_in_pieces(form: str) -> None:
    def detail(**more: Any) -> dict[str, Any]:
        return piece(reasoning_details=[{"type": "reasoning.text", "index": 0, **more}])

    stream, _ = told(form, detail(text="A"), detail(text="B"), detail(signature="s"), piece("stop"))
    whole = [{"type": "reasoning.text", "index": 0, "text": "AB", "signature": "s"}]
    assert stream.metadata["reasoning_details"] == whole
    assert stream.reasoning == "AB"


def test_c126_leaving_closes_the_connection(form: str) -> None:
    transport = FakeTransport([piece(content="a"), 60.0, piece("stop")])
    begun = time.monotonic()
    with start(form, transport) as stream:
        assert transport.open == 1
    assert (transport.open, transport.closed) == (0, 1)
    assert time.monotonic() - begun < 10
    with pytest.raises(CallError, match="closed"):
        read(form, stream.consume())


def test_c126_a_call_cancelled_before_the_first_chunk(form: str) -> None:
    transport = FakeTransport([60.0, piece("stop")])

    async def leave() -> None:
        task = asyncio.create_task(model_of("openai", transport).acall("x", stream=True))
        while not transport.open:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (transport.open, transport.closed) == (0, 1)  # before the loop ends, which would cancel it too

    asyncio.run(leave())


def test_c127_openrouter_streams_without_tools(form: str) -> None:
    transport = FakeTransport()
    assert read(form, start(form, transport, "openrouter").consume()) == ["hi"]
    assert not transport.body.keys() & {"tools", "tool_choice"}


def test_reasoning_may_be_read_beside_the_content(form: str) -> None:
    stream, pieces = told(form, piece(reasoning="a"), piece(content="b"), piece(reasoning="c"), piece("stop"))
    assert (read(form, stream.consume_reasoning()), pieces) == (["a", "c"], ["b"])
    assert stream.has_reasoning
