"""The stand-in provider as its clients meet it: a process of its own, the official client, and its account."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import openai
import pytest
from headrace_rehearsal.account import AccountedCall, in_flight_at, paid_twice, read

PROMPT = """Extract the facts.
Tables is a small library for reading tables. License: MIT
Classifier: Development Status :: 4 - Beta
Project-URL: Homepage, https://tables.example
Project-URL: Documentation, https://docs.tables.example"""
SCHEMA = {
    "type": "object",
    "properties": {
        "purpose": {"type": "string", "maxLength": 80},
        "licence": {"type": ["string", "null"]},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"kind": {"enum": ["homepage", "documentation"]}, "url": {"type": "string"}},
                "required": ["kind", "url"],
            },
        },
        "maturity": {"enum": ["alpha", "beta", "stable"]},
    },
    "required": ["purpose", "licence", "links", "maturity"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "facts", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}


def wait_for(condition: Callable[[], Any], *, within_s: float = 10.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return result


class Provider:
    def __init__(self, folder: Path):
        self.folder, self.account = folder, folder / "account.jsonl"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *arguments: str) -> None:
        ready = self.folder / "ready.json"
        command = [sys.executable, "-m", "headrace_rehearsal", "--port", "0", "--account", str(self.account)]
        command += ["--ready-file", str(ready), *arguments]
        self.process = process = subprocess.Popen(command, stderr=subprocess.PIPE)
        wait_for(lambda: ready.exists() or process.poll() is not None)
        told = json.loads(ready.read_bytes())
        assert told["pid"] == process.pid
        self.url = told["url"]

    def stop(self, sig: int = signal.SIGTERM) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(sig)
        self.process.wait(timeout=10)
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        code, self.process = self.process.returncode, None
        return code

    def calls(self) -> list[AccountedCall]:
        return read(self.account)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    own = Provider(tmp_path)
    yield own
    own.stop(signal.SIGKILL)


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    provider.start()
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="none", max_retries=0, timeout=20) as own:
        yield own


def messages(text: str = PROMPT) -> Any:
    return [{"role": "user", "content": text}]


async def ask(client: openai.AsyncOpenAI, text: str = PROMPT, /, **options: Any) -> Any:
    return await client.chat.completions.create(model="rehearsal-small", messages=messages(text), **options)


async def streamed(client: openai.AsyncOpenAI, text: str = PROMPT, /, **options: Any) -> list[Any]:
    return [chunk async for chunk in await ask(client, text, stream=True, **options)]


def ordered(orders: str) -> dict[str, str]:
    return {"x-rehearsal": orders}


async def test_a_plain_answer_quotes_the_prompt_and_says_so(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client)
    assert answer.model == "rehearsal-small"
    text = answer.choices[0].message.content
    announcement, _, quoted = text.partition(": ")
    assert announcement == "Rehearsal answer, quoting the prompt"
    assert quoted[:20] in PROMPT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 20
    assert (await ask(client)).choices[0].message.content == text


async def test_a_stream_joins_to_the_plain_answer(client: openai.AsyncOpenAI) -> None:
    plain = await ask(client, response_format=FORMAT)
    chunks = await streamed(client, response_format=FORMAT, stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 5
    assert "".join(pieces) == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == plain.usage
    assert all(chunk.usage is None for chunk in await streamed(client))


async def test_an_answer_is_valid_under_the_schema_and_made_of_the_prompt(client: openai.AsyncOpenAI) -> None:
    answer = json.loads((await ask(client, response_format=FORMAT)).choices[0].message.content)
    jsonschema_rs.Draft202012Validator(SCHEMA).validate(answer)
    assert answer["purpose"] in PROMPT
    assert (answer["licence"], answer["maturity"]) == ("MIT", "beta")
    assert answer["links"] == [
        {"kind": "homepage", "url": "https://tables.example"},
        {"kind": "documentation", "url": "https://docs.tables.example"},
    ]
    loose = json.loads((await ask(client, response_format={"type": "json_object"})).choices[0].message.content)
    assert isinstance(loose, dict)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "note"}}, "stop")],
)
async def test_a_tool_is_called_when_it_has_to_be(client: openai.AsyncOpenAI, choice: Any, reason: str) -> None:
    answer = (await ask(client, tools=[TOOL], tool_choice=choice)).choices[0]
    (call,) = answer.message.tool_calls
    assert (call.function.name, answer.finish_reason, answer.message.content) == ("note", reason, None)
    jsonschema_rs.Draft202012Validator(SCHEMA).validate(json.loads(call.function.arguments))
    deltas = [chunk.choices[0].delta for chunk in await streamed(client, tools=[TOOL], tool_choice=choice)]
    parts = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert parts[0].function.name == "note"
    assert parts[0].id
    assert "".join(part.function.arguments for part in parts) == call.function.arguments
    assert (await ask(client, tools=[TOOL])).choices[0].message.tool_calls is None


async def test_errors_have_the_shape_of_openai(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="rehearsal-small", messages=[])
    assert (refused.value.param, refused.value.code) == ("messages", "missing_required_parameter")
    with pytest.raises(openai.BadRequestError, match="parse the JSON body"):
        await client.post("/chat/completions", content=b'{"model":', cast_to=object)
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.post("/nowhere", body={}, cast_to=object)
    assert unknown.value.code == "unknown_url"
    with pytest.raises(openai.BadRequestError, match="no order 'falt=429'"):
        await ask(client, extra_headers=ordered("falt=429"))
    with pytest.raises(openai.BadRequestError, match="Invalid schema"):
        await ask(client, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}})
    assert [model.id async for model in client.models.list()] == ["rehearsal-small", "rehearsal-large"]


async def test_a_status_is_ordered_and_lifted_for_the_retries_of_the_same_job(
    client: openai.AsyncOpenAI, provider: Provider
) -> None:
    marked = f"{PROMPT} [[rehearsal fault=429 retry_after=3 times=1]]"
    for job in ("a.1", "b"):
        with pytest.raises(openai.RateLimitError) as limited:
            await ask(client, marked, extra_headers={"X-Client-Request-Id": f"{job}.1.1"})
        assert limited.value.response.headers["retry-after"] == "3"
    answer = await ask(client, marked, extra_headers={"X-Client-Request-Id": "a.1.2.2"})
    assert "[[rehearsal" not in answer.choices[0].message.content
    with pytest.raises(openai.InternalServerError):
        await ask(client, extra_headers=ordered("fault=503"))
    with pytest.raises(openai.RateLimitError) as limited:
        await ask(client, extra_headers=ordered("fault=429"))
    assert limited.value.response.headers["retry-after"] == "1"
    wait_for(lambda: [call.status for call in provider.calls()] == [429, 429, 200, 503, 429])


async def test_a_broken_answer_ends_early(client: openai.AsyncOpenAI, provider: Provider) -> None:
    with pytest.raises(openai.APIConnectionError):
        await ask(client, extra_headers=ordered("fault=cut"))
    got: list[str] = []

    async def collect() -> None:
        async for chunk in await ask(client, stream=True, extra_headers=ordered("fault=cut; after=3")):
            got.extend(filter(None, [chunk.choices[0].delta.content]))

    with pytest.raises(openai.APIConnectionError):
        await collect()
    assert len(got) == 3
    with pytest.raises(openai.APIError, match="broke off"):
        await streamed(client, extra_headers=ordered("fault=stream_error"))
    wait_for(lambda: [call.cut_at is not None for call in provider.calls()] == [True] * 3)
    assert in_flight_at(provider.calls(), time.time()) == []


async def test_wrong_answers_are_wrong_in_the_way_asked_for(client: openai.AsyncOpenAI) -> None:
    async def choice(fault: str) -> Any:
        return (await ask(client, response_format=FORMAT, extra_headers=ordered(f"fault={fault}"))).choices[0]

    with pytest.raises(json.JSONDecodeError):
        json.loads((await choice("malformed")).message.content)
    missed = json.loads((await choice("miss")).message.content)
    assert not jsonschema_rs.Draft202012Validator(SCHEMA).is_valid(missed)
    refused = (await choice("refusal")).message
    assert refused.refusal
    assert refused.content is None
    for reason in ("length", "content_filter"):
        cut = await choice(reason)
        assert cut.finish_reason == reason
        assert 0 < len(cut.message.content) < len((await choice("none")).message.content)
    short = await ask(client, response_format=FORMAT, max_completion_tokens=5)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 5)
    chunks = await streamed(client, extra_headers=ordered("fault=refusal"))
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == refused.refusal


async def test_time_passes_as_ordered(client: openai.AsyncOpenAI, provider: Provider) -> None:
    started = time.monotonic()
    answer = await ask(client, extra_headers=ordered("latency=100; tps=100"))
    speaking_s = answer.usage.completion_tokens / 100
    assert time.monotonic() - started >= 0.1 + speaking_s
    await streamed(client, extra_headers=ordered("latency=100 tps=100"))
    plain, stream = wait_for(lambda: [call for call in provider.calls() if call.finished_at][1:] and provider.calls())
    assert plain.finished_at - plain.first_byte_at < speaking_s / 2
    assert stream.first_byte_at - stream.received_at >= 0.099
    # By the clock from its beginning: a first byte that was late is caught up with.
    assert stream.finished_at - stream.received_at >= 0.099 + speaking_s - 0.02


@pytest.mark.parametrize("orders", ["fault=hang", "fault=stall", "latency=60000", "tps=1"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_is_noticed_at_once(
    client: openai.AsyncOpenAI, provider: Provider, orders: str, stream: bool
) -> None:
    calling = streamed(client, extra_headers=ordered(orders)) if stream else ask(client, extra_headers=ordered(orders))
    task = asyncio.create_task(calling)
    (call,) = await asyncio.to_thread(wait_for, provider.calls)
    assert in_flight_at([call], time.time()) == [call]
    left_at = time.time()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    call = await asyncio.to_thread(wait_for, lambda: next((c for c in provider.calls() if c.gone_at), None))
    assert call.gone_at - left_at < 0.5
    assert call.finished_at is None


async def test_the_account_numbers_each_call_and_knows_repeated_payments(provider: Provider) -> None:
    for request_ids in (["job.x.1.1", "job.x.1.2"], ["job.x.2.2", "other.1.1"]):
        provider.start()
        async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="none", max_retries=0) as client:
            for request_id in request_ids:
                await ask(client, extra_headers={"X-Client-Request-Id": request_id})
            await ask(client)
        assert provider.stop() == 0
    calls = provider.calls()
    assert [call.request_id for call in calls] == ["job.x.1.1", "job.x.1.2", None, "job.x.2.2", "other.1.1", None]
    assert len({(call.run, call.n) for call in calls}) == 6
    assert len({call.key for call in calls}) == 1
    assert all(call.received_at <= call.first_byte_at <= call.finished_at and call.tokens > 0 for call in calls)
    assert paid_twice(calls) == 1
    printed = subprocess.run(
        [sys.executable, "-m", "headrace_rehearsal.account", provider.account], capture_output=True, check=True
    )
    told = json.loads(printed.stdout)
    assert (told["calls"], told["paid"], told["paid_twice"], told["statuses"]) == (6, 6, 1, {"200": 6})


async def test_random_faults_come_at_their_rate_and_again_with_the_same_seed(provider: Provider) -> None:
    statuses = []
    for _ in range(2):
        provider.account.unlink(missing_ok=True)
        provider.start("--fault-rate", "429=0.3,500=0.2", "--seed", "5")
        async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="none", max_retries=0) as client:
            for _ in range(40):
                await asyncio.gather(ask(client), return_exceptions=True)
        provider.stop()
        statuses.append([call.status for call in provider.calls()])
    assert statuses[0] == statuses[1]
    assert 5 <= statuses[0].count(429) <= 20
    assert 2 <= statuses[0].count(500) <= 16


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_the_provider_stops_at_once_though_calls_hang(
    client: openai.AsyncOpenAI, provider: Provider, sig: int
) -> None:
    task = asyncio.create_task(ask(client, extra_headers=ordered("fault=hang")))
    await asyncio.to_thread(wait_for, provider.calls)
    started = time.monotonic()
    assert await asyncio.to_thread(provider.stop, sig) == 0
    assert time.monotonic() - started < 10, "the calls would hang for ever"
    with pytest.raises(openai.APIConnectionError):
        await task
    assert "Traceback" not in provider.errors
    (call,) = provider.calls()
    assert call.ended_at is None
    assert not (provider.folder / "ready.json").exists()


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "headrace_rehearsal", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
async def test_a_full_disk_loses_the_account_not_the_answers(provider: Provider) -> None:
    provider.account = Path("/dev/full")
    provider.start()
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="none", max_retries=0) as client:
        assert (await ask(client)).choices
        assert (await ask(client)).choices
    assert provider.stop() == 0
    assert provider.errors.count("the account is incomplete") == 1
