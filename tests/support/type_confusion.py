"""Type confusion: valid answers in which one JSON value is replaced by one of another type, and what must become of them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import msgspec
from fake_transport import T, as_chunks
from headrace_providers.response import Switches, response_of
from headrace_providers.wire.reducer import Reducer
from headrace_worker.publishing.delta_events import DeltaEvents, rest

from headrace.batches.outputs.output_lines import error_line, outcome_of, simple, success_line
from headrace.chat.completion import Completion, decode_outcome, encode_success
from headrace.errors import CallError, Failure
from headrace.events.fold import Fold
from headrace.events.types import decode_job_event, encode
from headrace.jobs.job import Job
from headrace.schema.modes import Mode

Path = tuple[str | int, ...]
OTHERS: list[Any] = [
    None, True, False, 0, -1, 5, 1.5, -1.5, 10**30, "", "x", "5", "null", [], [1], ["x"], [[]], [{}], {}, {"a": 1},
    {"text": "x"}, {"": None}, "2026-01-01T00:00:00Z",
]  # fmt: skip
STRICT = frozenset(
    {"choices", "delta", "message", "content", "tool_calls", "function_call", "finish_reason", "refusal"}
)
"""What is read strictly, with all that is in it; an item of `choices`, an `error` and the only sound, too."""
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
JOB = Job(model="openai/m", messages=[])
SCHEMA_JOB = msgspec.structs.replace(JOB, schema=SCHEMA)
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "cost": 0.25,
    "prompt_cache_hit_tokens": 3,
}
TOKEN = {"token": "he", "logprob": -0.5, "bytes": [104, 101], "top_logprobs": [{"token": "he", "logprob": -0.5}]}


class Base(msgspec.Struct):
    """A valid answer: its chunks (one: a plain answer) to a job."""

    name: str
    chunks: list[dict[str, Any]]
    job: Job = JOB
    mode: Mode = "strict"


def whole(finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": None, **message},
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "native_finish_reason": "end_turn",
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m-1",
        "choices": [choice],
        "usage": copy.deepcopy(USAGE),
        "service_tier": "default",
        "system_fingerprint": "fp",
        "provider": "Upstream",
    }


def calls(*names: str) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": '{"a":1}'}}
        for n, name in enumerate(names)
    ]


def logged(plain: dict[str, Any]) -> dict[str, Any]:
    plain["choices"][0]["logprobs"] = {"content": [copy.deepcopy(TOKEN), copy.deepcopy(TOKEN)], "refusal": None}
    return plain


def unnamed(plain: dict[str, Any]) -> dict[str, Any]:
    plain["choices"][0] |= {"token_ids": [5, 7], "content_filter_results": {"hate": {"filtered": False}}}
    return plain | {
        "citations": ["u"],
        "search_results": [{"url": "u"}],
        "prompt_logprobs": [None, {"5": {"logprob": -1}}],
    }


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
DETAILS = [
    {"type": "reasoning.text", "text": "A", "signature": "s", "format": "f", "index": 0},
    {"type": "reasoning.encrypted", "data": "zzz", "index": 1},
]
CITATION = {"type": "url_citation", "url_citation": {"url": "u", "start_index": 0, "end_index": 2}}
PLAIN = {
    "text": whole(content="hello"),
    "parts": whole(content=[{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]),
    "tools": whole("tool_calls", tool_calls=calls("f", "g")),
    "reasoning": whole(content="hello", reasoning="why", reasoning_details=DETAILS),
    "audio": whole(audio={"id": "a", "data": "eHl6", "transcript": "hi", "expires_at": 9}),
    "sound beside text": whole(content="hello", audio={"id": "a", "data": "eHl6", "transcript": "hi"}),
    "logprobs": logged(whole(content="hello")),
    "annotations": whole(content="hello", annotations=[CITATION]),
    "refusal": whole(refusal="No."),
    "unnamed fields": unnamed(whole(content="hello", images=[IMAGE], executed_tools=[{"type": "search"}], channel="x")),
}
PLAIN |= {
    "custom": whole("tool_calls", tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]),
    "older calls": whole("function_call", function_call={"name": "f", "arguments": "{}"}),
}


def beside(text: str, whole_text: str, finish: str | None = None) -> dict[str, Any]:
    """A chunk with a whole message beside its delta."""
    message = {"role": "assistant", "content": whole_text, "reasoning": "why", "annotations": [CITATION]}
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "message": message, "finish_reason": finish}
    return {"id": "c", "model": "m", "created": 1, "choices": [choice]}


STRUCTURED = whole(content='{"a":1}')
BASES = [Base(name, [answer]) for name, answer in PLAIN.items()]
BASES += [Base(f"{name}, streamed", as_chunks(answer)) for name, answer in PLAIN.items() if name != "parts"]
BASES += [
    Base("messages beside deltas", [beside("he", "he"), beside("llo", "hello"), beside("", "hello", "stop")]),
    Base("structured", [STRUCTURED], SCHEMA_JOB),
    Base("structured, streamed", as_chunks(STRUCTURED), msgspec.structs.replace(SCHEMA_JOB, stream=True)),
    Base("a tool's arguments", [whole("tool_calls", tool_calls=calls("answer"))], SCHEMA_JOB, "tool_call"),
    Base("foreign calls beside", [whole("tool_calls", content='{"a":1}', tool_calls=calls("z"))], SCHEMA_JOB),
    Base("foreign calls, streamed", as_chunks(whole(content='{"a":1}', tool_calls=calls("z"))), SCHEMA_JOB),
    Base("arguments, streamed", as_chunks(whole("tool_calls", tool_calls=calls("answer"))), SCHEMA_JOB, "tool_call"),
    Base("a tool's turn", [whole("tool_calls", tool_calls=calls("f"))], msgspec.structs.replace(SCHEMA_JOB, tools=[T])),
    Base("a response format", [STRUCTURED], msgspec.structs.replace(JOB, response_format={"type": "json_object"})),
    Base("xml", [whole(content='<a dtype="int">1</a>')], msgspec.structs.replace(JOB, parser="typed_xml")),
]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value but its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield (*at, step)
        yield from paths(each, (*at, step))


def put(value: Any, path: Path, new: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = copy.deepcopy(new)


def is_side(base: Base, path: Path) -> bool:
    """Whether the value at a path of the chunks may be anything, and the answer stays the same."""
    names = path[1:]  # the first step is the chunk
    if len(names) < 3 and names[:1] == ("choices",):
        return False
    if "error" in names or (STRICT - {"choices", "delta", "message"}) & {*names}:
        return False
    if len(names) == 3 and names[2] in ("delta", "message"):
        return False
    return not ("audio" in names and base.name.startswith("audio") and names[-1] in ("audio", "data"))


def is_another_choice(chunks: list[dict[str, Any]], path: Path) -> bool:
    """Whether a place holds a choice's number: another number is no confusion of types, but another choice."""
    value: Any = chunks
    if path[1:2] != ("choices",) or len(path) != 4 or path[3] != "index":
        return False
    try:
        for step in path:
            value = value[step]
    except (LookupError, TypeError):
        return False  # something above it was replaced, too
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Outcome(msgspec.Struct):
    completion: Completion | None = None
    failure: CallError | None = None


def outcome(chunks: list[dict[str, Any]], base: Base) -> Outcome:
    """What becomes of the chunks on every path that an answer takes. Raises whatever is raised that must not be."""
    reducer, events, told = Reducer(base.mode), DeltaEvents(), Fold()
    try:
        for chunk in chunks:
            for delta in reducer.add(chunk):
                for event in events.of(delta):
                    told.add(event)
        completion = reducer.completion(base.job)
    except CallError as error:
        reducer.keep_what_came(error)
        failure = Failure.of(error)
        assert outcome_of(error_line("a", "r", failure), structured=True)[2] == failure
        assert decode_outcome(msgspec.json.encode({"error": failure})).error == failure
        return Outcome(failure=error)
    result, completion = encode_success(completion)
    assert msgspec.json.encode(decode_outcome(result).completion) == msgspec.json.encode(completion)
    for event in rest(told, completion):
        told.add(decode_job_event(encode(event)))
    assert told.message == completion.message
    structured = base.job is not JOB
    line = success_line("a", "r", completion)
    _, back, _ = outcome_of(line, structured=structured)
    assert back is not None
    row = msgspec.json.decode(simple(line, structured=structured))
    if structured:
        assert back.value == completion.value == row["value"]
        assert (completion.value is not None) is completion.structured
    else:
        assert row["value"] == completion.content
    response_of(completion, Switches(), lambda each: each.value)
    return Outcome(completion)


def essence(completion: Completion | None) -> Any:
    """What no side field may change."""
    if completion is None:
        return None
    made = [(call["type"], call.get("function") or call.get("custom")) for call in completion.tool_calls]
    return completion.content, made, completion.finish_reason, completion.refusal, completion.value


def check(base: Base, chunks: list[dict[str, Any]], changed: list[Path], valid: Any) -> None:
    """Raises `AssertionError` for a mutant that is neither a whole answer nor a clean refusal, or refused for a side field."""
    result = outcome(chunks, base)
    if all(is_side(base, path) and not is_another_choice(chunks, path) for path in changed):
        assert result.completion is not None, (base.name, changed, result.failure)
        assert essence(result.completion) == valid, (base.name, changed)


def mutants(base: Base) -> Iterator[tuple[list[dict[str, Any]], list[Path]]]:
    """Each with one value replaced."""
    for path in paths(base.chunks):
        if len(path) < 2:
            continue
        for new in OTHERS:
            chunks = copy.deepcopy(base.chunks)
            put(chunks, path, new)
            yield chunks, [path]


def random_mutant(base: Base, draw: random.Random) -> tuple[list[dict[str, Any]], list[Path]]:
    """One with up to three values replaced, by values that may be made of the answer's own."""
    chunks, changed = copy.deepcopy(base.chunks), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        path = draw.choice([path for path in paths(chunks) if len(path) > 1])
        new = draw.choice(OTHERS) if draw.random() < 0.7 else grown(base, draw)
        put(chunks, path, new)
        changed.append(path)
    return chunks, changed


def grown(base: Base, draw: random.Random) -> Any:
    """A value from elsewhere in the answer, in a list, in an object, or as it is."""
    value: Any = base.chunks
    for step in draw.choice(list(paths(base.chunks))):
        value = value[step]
    name = draw.choice(["text", "content", "error", "data", "index", "message", "name", "arguments"])
    return draw.choice([value, [value], {name: value}, [value, value]])
