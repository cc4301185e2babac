"""An answer with everything in it, through worker, log, fold and gateway: streamed it is what it is unstreamed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from gateways import Sse
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from stack import Stack, started
from transcript import Transcript
from websockets.sync.client import connect

from headrace import AsyncHeadrace
from headrace.chat.completion import Completion
from headrace.events.ids import START, Event, EventId
from headrace.settings import Settings

TOOLS = [{"type": "function", "function": {"name": f"tool_{i}", "parameters": {"type": "object"}}} for i in range(4)]
TOP = {"id": "chatcmpl-rich", "created": 1_700_000_000, "model": "rich", "system_fingerprint": "fp_1"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 40, "total_tokens": 70}
TEXTS = ["Four calls, ", "and a caf\u00e9 \U0001f600."], ["The same, ", "otherwise.\u2028"]
REFUSALS = ["But not ", "that."], ["Nor ", "this."]
ARGUMENTS = ['{"n": ', "%d", ', "of": "', '%d"}']
SOUND = bytes(range(256)) * 40


def tokens(pieces: list[str]) -> list[dict[str, Any]]:
    return [{"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []} for text in pieces]


def arguments(c: int, i: int) -> list[str]:
    return [ARGUMENTS[0], ARGUMENTS[1] % i, ARGUMENTS[2], ARGUMENTS[3] % c]


def citation(c: int) -> dict[str, Any]:
    url = {"url": f"https://example.org/{c}", "title": "t", "start_index": 0, "end_index": 4}
    return {"type": "url_citation", "url_citation": url}


def sound(c: int) -> bytes:
    return SOUND[c:]


def plain() -> dict[str, Any]:
    """The answer, at once: written down apart from its chunks."""
    choices = []
    for c in range(2):
        calls = [
            {
                "id": f"call_{c}_{i}",
                "type": "function",
                "function": {"name": f"tool_{i}", "arguments": json.dumps({"n": i, "of": str(c)})},
            }
            for i in range(4)
        ]
        audio = {
            "id": f"audio_{c}",
            "data": base64.b64encode(sound(c)).decode(),
            "transcript": "beep boop",
            "expires_at": 1_800_000_000,
        }
        message = {
            "role": "assistant",
            "content": "".join(TEXTS[c]),
            "refusal": "".join(REFUSALS[c]),
            "tool_calls": calls,
            "audio": audio,
            "annotations": [citation(c)],
        }
        logprobs = {"content": tokens(TEXTS[c]), "refusal": tokens(REFUSALS[c])}
        choices.append({"index": c, "message": message, "logprobs": logprobs, "finish_reason": "tool_calls"})
    return {**TOP, "object": "chat.completion", "choices": choices, "usage": USAGE}


def chunks() -> Iterator[dict[str, Any]]:
    """The answer in pieces: both choices in turn, and the arguments of all tools of a choice in turn."""
    head = {**TOP, "object": "chat.completion.chunk", "usage": None}

    def chunk(c: int, delta: dict[str, Any], finish: str | None = None, **logprobs: Any) -> dict[str, Any]:
        choice = {"index": c, "delta": delta, "finish_reason": finish, "logprobs": logprobs or None}
        return {**head, "choices": [choice]}

    both = range(2)
    yield from (chunk(c, {"role": "assistant", "content": ""}) for c in both)
    yield from (chunk(c, {"content": TEXTS[c][0]}, content=tokens(TEXTS[c][:1]), refusal=None) for c in both)
    for i in range(4):  # a call is numbered as it begins
        for c in both:
            start = {"index": i, "id": f"call_{c}_{i}", "type": "function"}
            yield chunk(c, {"tool_calls": [start | {"function": {"name": f"tool_{i}", "arguments": ""}}]})
    for part in range(len(ARGUMENTS)):
        for i in (1, 3, 0, 2):
            for c in both:
                yield chunk(c, {"tool_calls": [{"index": i, "function": {"arguments": arguments(c, i)[part]}}]})
    yield from (chunk(c, {"content": TEXTS[c][1]}, content=tokens(TEXTS[c][1:]), refusal=None) for c in both)
    yield from (chunk(c, {"annotations": [citation(c)]}) for c in both)
    for part in range(2):
        for c in both:
            refusal = REFUSALS[c][part]
            yield chunk(c, {"refusal": refusal}, content=None, refusal=tokens([refusal]))
    for c in both:
        yield chunk(c, {"audio": {"id": f"audio_{c}", "transcript": "beep "}})
        for at in range(0, len(sound(c)), 999):
            yield chunk(c, {"audio": {"data": base64.b64encode(sound(c)[at : at + 999]).decode()}})
        yield chunk(c, {"audio": {"transcript": "boop", "expires_at": 1_800_000_000}})
    yield from (chunk(c, {}, "tool_calls") for c in both)
    yield {**head, "choices": [], "usage": USAGE}


class Provider(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["n"] == 2
        assert body["logprobs"] is True
        self.send_response(200)
        if body.get("stream"):
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for chunk in chunks():
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            answer = json.dumps(plain()).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    providers = {"rich": {"like": "vllm", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}}
    try:
        environment = {"HEADRACE_PROVIDERS": json.dumps(providers)}
        with started(tmp_path_factory.mktemp("rich"), "--no-flower", environment=environment) as stack:
            yield stack
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def told(completion: Completion) -> list[tuple[dict[str, Any], dict[str, Any], str]]:
    """What each choice says."""
    choices = [completion, *completion.other_choices]
    return [(choice.message, choice.logprobs or {}, choice.finish_reason) for choice in choices]


async def test_streamed_it_is_what_it_is_unstreamed(stack: Stack) -> None:
    completions: dict[bool, Completion] = {}
    logs: dict[bool, Transcript] = {}
    ids: dict[bool, str] = {}
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
        for stream in (True, False):
            words: dict[str, Any] = {"tools": TOOLS, "logprobs": True, "extra_body": {"n": 2}, "stream": stream}
            job = await client.submit("rich/any", "Everything, please.", **words)
            completions[stream] = await job.completion(30)
            seen = Transcript()
            with await client.reader.view(client.ledger.keys.job(job.id), START) as viewer:
                async for event in viewer:
                    seen.add(event)
            seen.check(await client.ledger.client.get(f"{client.ledger.keys.job(job.id)}:result"))
            logs[stream], ids[stream] = seen, job.id

    fixture = [(choice["message"], choice["logprobs"], choice["finish_reason"]) for choice in plain()["choices"]]
    assert told(completions[False]) == fixture
    assert told(completions[True]) == fixture
    assert completions[True].usage == completions[False].usage
    for stream, seen in logs.items():
        folded = seen.fold()
        assert [(folded.choice(c).message(), folded.choice(c).logprobs) for c in range(2)] == [
            (message, logprobs) for message, logprobs, _ in fixture
        ], f"{stream=}"
        assert folded.usage == msgspec.to_builtins(completions[stream].usage)
    kinds = [event["t"] for event in logs[True].decoded]
    assert kinds.count("tool.start") == 8
    assert kinds.count("tool.delta") > 8, "in pieces"
    assert "snapshot" not in kinds, "nothing was made good at the end"

    base = stack.ready["gateway"]
    for stream in (True, False):
        frames = Sse(f"{base}/v1/jobs/{ids[stream]}/events").all()
        seen = Transcript()
        for id, data in frames:
            seen.add(Event(EventId.parse(str(id)), data.encode()))
        assert seen.decoded == logs[stream].decoded
        over_websocket = [frame for frame in frames_of(base, ids[stream]) if "id" in frame]
        assert [EventId.parse(frame.pop("id")) for frame in over_websocket] == seen.ids
        assert over_websocket == [event | {"v": 1, "job": ids[stream]} for event in seen.decoded]
        assert as_openai_puts_it_together(f"{base}/v1/jobs/{ids[stream]}/events?view=openai&usage=true") == fixture


def frames_of(base: str, job: str) -> list[dict[str, Any]]:
    with connect(f"ws{base[4:]}/v1/stream?job={job}") as connection:
        return [json.loads(frame) for frame in connection]


def as_openai_puts_it_together(url: str) -> list[tuple[dict[str, Any], dict[str, Any], str]]:
    """What the official client makes of the chunks."""
    state = ChatCompletionStreamState()
    for _, data in Sse(url).all():
        if data != "[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate_json(data))
    completion: ChatCompletion = state.get_final_completion()
    found = []
    for choice in completion.choices:
        assert choice.logprobs
        message = choice.message.model_dump(exclude_none=True)
        for call in message["tool_calls"]:
            del call["index"]
        found.append((message, choice.logprobs.model_dump(exclude_none=True), choice.finish_reason))
    return found
