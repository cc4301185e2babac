"""The stored bytes of every event are those of `event_lines.jsonl`: logs outlive the release that wrote them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
from headrace_providers.wire.choice_reducer import Delta
from headrace_worker.execution import job_attempt
from headrace_worker.execution.job_attempt import Attempt
from headrace_worker.publishing import publisher
from headrace_worker.publishing.publisher import Flusher

from headrace.chat.completion import Choice, Completion, Usage
from headrace.errors import CallError
from headrace.events.types import KnownJobEvent, Snapshot, beginning, decode_job_event, encode, name_of
from headrace.jobs.job import Job
from headrace.ledger.claim import Claimed
from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.expire import expire
from headrace.ledger.script import Ledger, ScriptCall

LINES = Path(__file__).with_name("event_lines.jsonl")
SCHEMA = {"type": "object", "additionalProperties": {"type": "integer"}}
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA=="}}
CITATION = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "t"}}
SOUND = b"\x00\x01\x02\x03"
CALLS = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"a": "é\\n"}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    },
    {"id": "call_2", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
]
RICH = Completion(
    id="x",
    model="m",
    created=1,
    content="Hi there, \U0001f600",
    reasoning="hm",
    reasoning_details=[{"type": "reasoning.encrypted", "data": "zz"}],
    refusal="But no.",
    tool_calls=CALLS,
    audio={"id": "a1", "data": base64.b64encode(SOUND).decode(), "transcript": "beep", "expires_at": 99},
    annotations=[CITATION],
    images=[IMAGE],
    citations=["https://a.example"],
    logprobs={"content": [TOKEN, TOKEN], "refusal": [TOKEN]},
    extra={"answer": {"search_results": [1]}, "choice": {"token_ids": [5]}, "message": {"executed_tools": [3]}},
    finish_reason="tool_calls",
    usage=Usage(3, 4, reasoning_tokens=1),
    service_tier="flex",
    system_fingerprint="fp_1",
    other_choices=[
        Choice(
            content="Another",
            reasoning="so",
            logprobs={"content": [TOKEN], "reasoning": [TOKEN]},
            extra={"choice": {"k": 1}},
            finish_reason="stop",
        )
    ],
)
PLAIN = Completion(id="x", model="m", created=1, content="Hi", finish_reason="stop", usage=Usage(1, 1), cached=True)


class Recorder(Ledger):
    """A ledger that keeps the events which its moves are sent."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type] (nothing ever connects)
        self.lines: list[bytes] = []

    async def run(
        self, name: str, subject: str, keys: Any, arguments: Mapping[str, Any], rest: Sequence[Any] = ()
    ) -> list[Any]:
        self.lines += rest[: arguments.get("count", 0)]  # of `finish`: the events before the end
        if "event" in arguments:
            self.lines.append(arguments["event"])
        return {"restart": [b"8"], "compact": [b"9"], "finish": [b"first"], "expire": [b"first"]}.get(name, [])

    async def run_group(self, name: str, calls: Sequence[ScriptCall]) -> list[Any]:
        self.lines += [event for call in calls for event in call.rest]
        return [[b"OK", b""] for _ in calls]


class Engine:
    """Answers as it is told: a script of what its watch hears, then the completion, or the error."""

    def __init__(self, *heard: tuple[Any, ...], answer: Completion | CallError):
        self.heard = heard
        self.answer = answer

    async def ask(self, job: Job, *, watch: Attempt, **_: Any) -> Completion:
        for name, *arguments in self.heard:
            if name == "restart":
                await watch.restart(*arguments)
            elif name == "settled":
                await watch.publisher.settled()
            elif name == "delta":
                watch.delta(Delta(*arguments))
            else:
                getattr(watch, name)(*arguments)
        if isinstance(self.answer, CallError):
            raise self.answer
        return self.answer


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    times = iter(range(100, 10_000, 5))
    monkeypatch.setattr(
        job_attempt, "time", SimpleNamespace(monotonic=lambda: next(times), time=lambda: 1_800_000_000.25)
    )
    return Recorder()


async def run(ledger: Recorder, engine: Engine, record: dict[str, bytes] | None = None, **job: Any) -> None:
    """One attempt; its starts are as the publisher says that the ledger wrote them."""
    facts = SimpleNamespace(facts=SimpleNamespace(dialect="openai"))
    process = SimpleNamespace(
        ledger=ledger,
        flusher=Flusher(ledger),
        engine=engine,
        meter=None,
        tracer=None,
        leases=SimpleNamespace(move=lambda *_: None, confirm=lambda *_: True),
        registry=SimpleNamespace(chat_completion=lambda *_, **__: facts),
    )
    body = msgspec.json.encode(Job(model="openai/m", messages=[{"role": "user", "content": "Hi?"}], **job))
    claimed = Claimed("job_a", 7, {"body": body, "n": b"1", "calls": b"", **(record or {})})
    attempt = Attempt(process, claimed)  # type: ignore[arg-type]
    ledger.lines += attempt.publisher._kept
    await attempt.run()
    if attempt.epoch != claimed.epoch:
        ledger.lines.append(attempt.publisher._kept[0])


def tool(index: int, **function: str) -> dict[str, Any]:
    return {"index": index, "id": f"call_{index + 1}", "type": "function", "function": function}


async def written_lines(ledger: Recorder, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The events of every type, with and without each of their fields."""
    streamed = [
        ("waiting", "rate_limited", "openai says wait 20 s", 20.0),
        ("calling", "openai", "m", None),
        ("delta", "reasoning", "hm"),
        ("delta", "text", "Hi "),
        ("settled",),
        ("delta", "text", "the"),
        ("delta", "text", "re, "),
        ("settled",),
        ("delta", "tool", [tool(0, name="weather", arguments='{"a":')]),
        ("delta", "audio", SOUND[:2]),
        ("delta", "image", IMAGE),
        ("delta", "refusal", "But "),
    ]
    await run(ledger, Engine(*streamed, answer=RICH))
    await run(ledger, Engine(answer=RICH))
    await run(ledger, Engine(answer=PLAIN))
    lowered = Engine(("routed", "weight"), ("calling", "openai", "m", "strict"), ("delta", "text", "["), answer=PLAIN)
    await run(ledger, lowered, schema=SCHEMA)
    # What was told is not the beginning of the answer: a snapshot takes its place.
    await run(ledger, Engine(("calling", "openai", "m", None), ("delta", "text", "No"), answer=RICH))
    error = CallError("rate_limited", "too many", status=429)
    begun = [("calling", "openai", "m", None), ("delta", "text", "Hi"), ("restart", "retry")]
    await run(ledger, Engine(*begun, answer=error))
    await run(ledger, Engine(answer=CallError("timeout", "too slow")), {"n": b"3", "crashed": b"1"})
    await run(ledger, Engine(answer=PLAIN), {"cancel": b"1"})
    monkeypatch.setattr(publisher, "MAX_EVENTS", 4)
    await run(ledger, Engine(*streamed, ("settled",), answer=RICH))
    await run(ledger, Engine(*[("waiting", "retrying", "once more", 0.5), ("settled",)] * 5, answer=PLAIN))
    await expire(ledger, "job_a")
    await evict_damaged(ledger, ["job_a"], where="due")
    return ledger.lines


@pytest.mark.parametrize("line", LINES.read_bytes().splitlines(), ids=lambda line: line[6:40].decode())
def test_every_event_that_is_read_is_written_as_it_was(line: bytes) -> None:
    event = decode_job_event(line)
    assert encode(event) == line
    assert isinstance(event, get_args(KnownJobEvent))
    assert line.startswith(beginning(type(event)))


def test_every_type_and_every_field_of_one_is_among_the_lines() -> None:
    written: dict[str, set[str]] = {}
    for line in LINES.read_bytes().splitlines():
        event = msgspec.json.decode(line)
        written.setdefault(event.pop("t"), set()).update(event)
    del written["snapshot"]  # it may tell of an `end`, which no compacted log has yet
    types = [type for type in get_args(KnownJobEvent) if type is not Snapshot]
    assert written == {name_of(type): set(type.__struct_fields__) for type in types}


async def test_every_event_is_written_with_the_same_bytes(ledger: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await written_lines(ledger, monkeypatch) == LINES.read_bytes().splitlines()
