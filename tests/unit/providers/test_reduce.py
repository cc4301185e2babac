"""A body cut anywhere is the same completion: SSE bytes through the decoder and the reducer."""

from __future__ import annotations

import base64
import json
import time
import zlib
from itertools import product
from typing import Any, NamedTuple

import msgspec
import pytest
from headrace_providers.wire.body import Inflater
from headrace_providers.wire.chunks import chunks_of
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.sse import EventDecoder, ServerSentEvent
from headrace_providers.wire.surrogates import Halves
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job

JOB = Job(model="openai/m", messages=[])


def delta(choice: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": choice, "delta": fields, "finish_reason": finish}


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "created": 1, "choices": list(choices), **more}


def tool(index: int, **function: Any) -> dict[str, Any]:
    named = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return {"index": index, **named, "function": function}


def interleaved() -> list[dict[str, Any]]:
    """Four parallel calls in each of two choices, all their arguments in turns."""
    begin = [chunk(delta(c, tool_calls=[tool(i, name=f"f{i}", arguments="")])) for c in (0, 1) for i in range(4)]
    parts = [
        chunk(*(delta(c, tool_calls=[tool(i, arguments=part) for i in range(4)]) for c in (0, 1)))
        for part in ('{"a', '":"é', '🙂"', "}")
    ]
    return [*begin, *parts, chunk(delta(0, "tool_calls"), delta(1, "tool_calls"))]


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
LOGPROBS = {"content": [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}], "refusal": None}
BODIES: dict[str, list[dict[str, Any]]] = {
    "text": [chunk(delta(content=part)) for part in ("he", "llö ", "🙂", "\n\ndata: no")]
    + [chunk(delta(finish="stop"))],
    "four calls, two choices": interleaved(),
    "reasoning and content in one delta": [chunk(delta(reasoning="wà", content="so")), chunk(delta(finish="stop"))],
    "refusal": [chunk(delta(refusal="N")), chunk(delta(refusal="ö.")), chunk(delta(finish="stop"))],
    "audio": [
        chunk(delta(audio={"id": "a", "transcript": "h"})),
        *(chunk(delta(audio={"data": base64.b64encode(part).decode()})) for part in (b"x", b"yz")),
        chunk(delta(finish="stop", audio={"expires_at": 5})),
    ],
    "logprobs": [
        chunk(delta(content="é") | {"logprobs": LOGPROBS}),
        chunk(delta(finish="stop") | {"logprobs": LOGPROBS}),
    ],
    "usage early": [chunk(delta(content="x"), usage=USAGE), chunk(delta(finish="stop"))],
    "usage with the end": [chunk(delta(content="x")), chunk(delta(finish="stop"), usage=USAGE)],
    "usage alone at last": [chunk(delta(content="x", finish="stop")), chunk(usage=USAGE)],
}


BOM = b"\xef\xbb\xbf"
ENDS = ["\n", "\r\n", "\r"]
GZIP = 31


class Frame(NamedTuple):
    """How a body is written around its chunks."""

    end: str = "\n"
    bom: bool = False
    comments: bool = False
    done: bool = True


FRAMES = [Frame(*one) for one in product(ENDS, (False, True), (False, True), (False, True))]


def body_of(chunks: list[dict[str, Any]], frame: Frame = Frame()) -> bytes:  # noqa: B008 (it cannot change)
    lines = []
    for one in chunks:
        lines += [": PROCESSING", ""] if frame.comments else []
        lines += ["event: message", "id: 5"] if frame.comments else []
        lines += [f"data: {json.dumps(one, ensure_ascii=False)}", ""]
    lines += ["data: [DONE]", ""] if frame.done else []
    return (BOM if frame.bom else b"") + (frame.end.join([*lines, ""])).encode()


def events_of(pieces: list[bytes]) -> list[ServerSentEvent]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def completion_of(pieces: list[bytes]) -> Completion:
    reducer, halves = Reducer(), Halves()
    for event in events_of(pieces):
        for chunk in chunks_of(event, halves):
            reducer.add(chunk)
    completion = reducer.completion(JOB)
    return msgspec.structs.replace(completion, created=1)


def unpacked(pieces: list[bytes]) -> list[bytes]:
    inflater = Inflater(GZIP)
    found = [part for piece in pieces for part in inflater.pieces(piece)]
    assert inflater.is_whole
    return found


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_cut_at_every_byte(what: str, frame: Frame) -> None:
    body = body_of(BODIES[what], frame)
    whole = events_of([body])
    for at in range(len(body)):
        assert events_of([body[:at], body[at:]]) == whole, at
    assert completion_of([bytes([byte]) for byte in body]) == completion_of([body_of(BODIES[what])])


@pytest.mark.parametrize("what", BODIES)
def test_a_cut_at_every_byte_of_a_packed_body(what: str) -> None:
    body = body_of(BODIES[what])
    whole = events_of([body])
    packer = zlib.compressobj(wbits=GZIP)
    packed = packer.compress(body) + packer.flush()
    for at in range(len(packed)):
        assert events_of(unpacked([packed[:at], packed[at:]])) == whole, at
    assert events_of(unpacked([bytes([byte]) for byte in packed])) == whole


@given(st.sampled_from(sorted(BODIES)), st.sampled_from(FRAMES), st.data())
@settings(deadline=None)
def test_any_cuts(what: str, frame: Frame, data: st.DataObject) -> None:
    body = body_of(BODIES[what], frame)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=40)))
    pieces = [body[first:last] for first, last in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert completion_of(pieces) == completion_of([body])


TEXTS = [chunk(delta(content="he")), chunk(delta(content="llo")), chunk(delta(finish="stop"))]
LINES = [json.dumps(one).encode() for one in TEXTS]


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b"data: " + line + b"\n" for line in LINES),
        b"".join(b"data:" + line + b"\n\n" for line in LINES),
        b"\n\n".join(b"data: " + line for line in LINES),
        b"".join(line + b"\n" for line in LINES),
        b"\n" + b"".join(b"data: " + line + b"\n\n" for line in LINES) + b"data: [DONE]",
        b"".join(b"retry: 5\nid: 1\ndata: " + line + b"\n\n" for line in LINES),
        b"".join(b"data: " + line + b"\ndata: \n\n" for line in LINES),
        b"".join(b"data: " + line.replace(b", ", b",\ndata: ") + b"\n\n" for line in LINES),
        BOM + b"\r\n".join(b"data: " + line + b"\r\n" for line in LINES),
    ],
)
def test_reads_event_streams_as_real_servers_write_them(body: bytes) -> None:
    assert completion_of([body]).content == "hello"
    assert completion_of([bytes([byte]) for byte in body]).content == "hello"


def escaped(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)


def test_a_character_cut_in_two_is_joined() -> None:
    first, second = "\ud83d", "\ude42"
    calls = [
        chunk(delta(tool_calls=[tool(0, **part)]))
        for part in ({"name": "f", "arguments": '{"a":"' + first}, {"arguments": second + '"}'})
    ]
    body = escaped(
        chunk(delta(content=f"a{first}")),
        chunk(delta(content=f"{second}b{first}")),
        chunk(delta(content=second)),
        *calls,
        chunk(delta(finish="stop")),
    )
    completion = completion_of([body])
    assert completion.content == "a🙂b🙂"
    assert completion.tool_calls[0]["function"]["arguments"] == '{"a":"🙂"}'
    lonely = escaped(chunk(delta(content=f"a{second}b")), chunk(delta(content="c", finish="stop")))
    assert completion_of([lonely]).content == "a\ufffdbc"
    plain = chunk({"index": 0, "message": {"content": f"{first}{second} {first}x"}, "finish_reason": "stop"})
    assert completion_of([json.dumps(plain).encode()]).content == "🙂 \ufffdx"


def test_a_line_of_32_mb_in_many_pieces_takes_the_time_of_its_length() -> None:
    decoder, piece = EventDecoder(), b"x" * (1 << 14)
    begun = time.process_time()
    decoder.feed(b"data: ")
    for _ in range(2048):
        assert decoder.feed(piece) == []
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 32 << 20
    assert time.process_time() - begun < 2


def test_sample_bodies_reduce_to_the_expected_completions() -> None:
    """So that equal does not mean equally wrong."""
    made = {what: completion_of([body_of(chunks)]) for what, chunks in BODIES.items()}
    assert made["text"].content == "hellö 🙂\n\ndata: no"
    calls = made["four calls, two choices"]
    for choice in (calls, *calls.other_choices):
        assert [(call["id"], call["function"]) for call in choice.tool_calls] == [
            (f"call_{i}", {"name": f"f{i}", "arguments": '{"a":"é🙂"}'}) for i in range(4)
        ]
    assert len(calls.other_choices) == 1
    both = made["reasoning and content in one delta"]
    assert (both.reasoning, both.content) == ("wà", "so")
    assert made["refusal"].refusal == "Nö."
    audio = {"id": "a", "transcript": "h", "data": base64.b64encode(b"xyz").decode(), "expires_at": 5}
    assert made["audio"].audio == audio
    assert made["logprobs"].logprobs == {"content": LOGPROBS["content"] * 2}
    for name in ("usage early", "usage with the end", "usage alone at last"):
        assert (made[name].raw_usage, made[name].usage.cached_tokens) == (USAGE, 1)


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_a_plain_answer_is_one_chunk(what: str, data: st.DataObject) -> None:
    """What a stream folds to, said at once, folds to the same."""
    streamed = completion_of([body_of(BODIES[what])])

    def said(choice: Any, index: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.content, "refusal": choice.refusal, "audio": choice.audio}
        message |= {"reasoning": choice.reasoning, "tool_calls": choice.tool_calls or None}
        return {"index": index, "message": message, "finish_reason": choice.finish_reason, "logprobs": choice.logprobs}

    choices = [said(choice, index) for index, choice in enumerate([streamed, *streamed.other_choices])]
    reducer = Reducer()
    reducer.add(chunk(*choices, usage=streamed.raw_usage))
    assert msgspec.structs.replace(reducer.completion(JOB), created=1) == streamed


NAMES = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "index",
    "function",
    "arguments",
    "usage",
    "error",
    "id",
]
NAMES += ["prompt_tokens", "logprobs", "audio", "data", "finish_reason", "reasoning_details"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_no_json_breaks_the_reducer(value: Any) -> None:
    for whole in (value, {"choices": [value]}, {"choices": [{"delta": value}]}, {"choices": [{"message": value}]}):
        reducer = Reducer()
        try:
            if isinstance(whole, dict):
                reducer.add(whole)
                msgspec.json.encode(reducer.completion(JOB))
        except CallError:
            pass
