"""Streams through the whole service: what a viewer sees is what is stored, whoever cancels, leaves, or breaks off."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from headrace_rehearsal import account
from stack import Stack, until
from transcript import Transcript, typed

from headrace import AsyncHeadrace, Headrace
from headrace.client.handles import AsyncJobHandle
from headrace.errors import Finished, JobFailed, Restarted
from headrace.events.ids import START, EventId
from headrace.settings import Settings

MODEL = "rehearsal/small"

STORY = (
    "Tell of the river, the mill and the wheel, of the miller, his flour and his cat, one after the other, at length."
)


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
        yield client


def asked(orders: str) -> str:
    return f"{STORY} [[rehearsal {orders}]]"


async def watch(
    client: AsyncHeadrace, job: AsyncJobHandle[Any], after: EventId = START, seen: Transcript | None = None
) -> Transcript:
    seen = seen or Transcript()
    with await client.reader.view(client.ledger.keys.job(job.id), after) as viewer:
        async for event in viewer:
            seen.add(event, time.monotonic())
    return seen


async def stored(client: AsyncHeadrace, job: AsyncJobHandle[Any]) -> bytes:
    return await client.ledger.client.get(f"{client.ledger.keys.job(job.id)}:result")


async def seen_at_least(seen: Transcript, count: int) -> None:
    async with asyncio.timeout(20):
        while len(seen.events) < count:
            await asyncio.sleep(0.005)


async def test_the_whole_stream_in_order_for_whoever_comes_when(stack: Stack, client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("tps=60"), stream=True)
    first = Transcript()
    viewing = [asyncio.create_task(watch(client, job, seen=first))]
    await seen_at_least(first, 8)
    viewing += [asyncio.create_task(watch(client, job, cursor)) for cursor in (START, first.ids[4])]
    async with asyncio.timeout(30):
        early, late, resumed = await asyncio.gather(*viewing)
    after_the_end = await watch(client, job)
    outcome = await stored(client, job)
    for seen in (early, late, after_the_end):
        seen.check(outcome)
    assert early.events == late.events == after_the_end.events
    assert resumed.events == early.events[5:]
    types = [event["t"] for event in early.decoded]
    assert types[:2] == ["attempt.start", "attempt.route"]
    assert types.count("text.delta") > 5
    route, end = early.decoded[1], early.decoded[-1]
    assert (route["provider"], route["model"], route["cached"]) == ("rehearsal", MODEL, False)
    assert end["status"] == "succeeded"
    assert end["finish"] == [{"c": 0, "reason": "stop"}]
    assert 0 < end["ms"]["ttft"] < end["ms"]["total"]
    completion = await job.completion()
    assert early.fold().message == completion.message
    assert len(stack.calls_of(job.id)) == 1


async def test_a_plain_call_is_a_stream_of_one_chunk(client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, STORY)
    seen = await watch(client, job)
    seen.check(await stored(client, job))
    types = [event["t"] for event in seen.decoded]
    assert types == ["attempt.start", "attempt.route", "text.delta", "usage", "end"]


async def test_tool_calls_stream_and_fold_to_the_stored_ones(client: AsyncHeadrace) -> None:
    def weather(city: str, days: int) -> str:
        """The weather in a city."""
        return f"{city} {days}"

    job = await client.submit(MODEL, asked("tps=100"), tools=[weather], tool_choice="required", stream=True)
    seen = await watch(client, job)
    folded = seen.check(await stored(client, job))
    types = [event["t"] for event in seen.decoded]
    assert types.count("tool.start") == types.count("tool.end") == 1
    assert types.count("tool.delta") > 1
    (call,) = (await job.completion()).tool_calls
    assert folded.message["tool_calls"] == [call]
    given = [event async for event in job.stream()]
    assert [event["id"] for event in given] == [str(id) for id in seen.ids]
    assert [event["call_id"] for event in given if event["t"] == "tool.start"] == [call["id"]]


async def test_a_structured_answer_streams_its_wire_text(client: AsyncHeadrace) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    job = await client.submit(MODEL, asked("tps=100"), schema=schema, stream=True)
    (await watch(client, job)).check(await stored(client, job))


@pytest.mark.parametrize("when", ["before the first token", "in the middle"])
async def test_a_cancelled_call_is_closed_within_a_second(stack: Stack, client: AsyncHeadrace, when: str) -> None:
    orders = "fault=hang" if when == "before the first token" else "tps=8"
    job = await client.submit(MODEL, asked(orders), stream=True)
    seen = Transcript()
    viewing = asyncio.create_task(watch(client, job, seen=seen))
    await seen_at_least(seen, 2 if when == "before the first token" else 6)
    cancelled_at = time.time()
    assert await job.cancel() == "running"
    await job.cancel()
    async with asyncio.timeout(10):
        await viewing
    folded = seen.check()
    assert folded.end is not None
    assert folded.end.error is not None
    assert (folded.end.status, folded.end.error["code"]) == ("cancelled", "cancelled")
    until(lambda: stack.calls_of(job.id)[0].gone_at, what="the provider sees the client leave")
    gone_at = stack.calls_of(job.id)[0].gone_at
    assert gone_at is not None
    assert gone_at - cancelled_at <= 1.0
    with pytest.raises(JobFailed) as failed:
        await job.result()
    said = "".join(event["d"] for event in seen.decoded if event["t"] == "text.delta")
    assert bool(said) == (when == "in the middle")
    assert (failed.value.partial or "") == said
    assert await job.cancel() == "cancelled"  # twice is no error
    assert (await watch(client, job)).events == seen.events


async def test_after_the_end_there_is_nothing_to_cancel(client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, STORY, stream=True)
    before = await watch(client, job)
    with pytest.raises(Finished):
        await job.cancel()
    assert (await watch(client, job)).events == before.events


async def test_viewers_that_leave_stop_nothing(stack: Stack, client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("tps=40"), stream=True)
    seen = Transcript()
    viewing = [asyncio.create_task(watch(client, job, seen=seen)) for _ in range(3)]
    await seen_at_least(seen, 6)
    for task in viewing:
        task.cancel()
    await asyncio.gather(*viewing, return_exceptions=True)
    completion = await job.completion(30)
    (await watch(client, job)).check(await stored(client, job))
    assert completion.finish_reason == "stop"
    assert [call.gone_at for call in stack.calls_of(job.id)] == [None]


async def test_an_answer_that_breaks_off_fails_after_what_was_shown(stack: Stack, client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("fault=cut,after=5,times=1"), stream=True)
    seen = await watch(client, job)
    folded = seen.check()
    assert folded.end is not None
    assert folded.end.error is not None
    assert (folded.end.status, folded.end.error["retryable"]) == ("failed", True)
    assert folded.message["content"]
    assert len(stack.calls_of(job.id)) == 1
    given: list[str] = []

    async def read() -> None:
        async for text in job.stream().text_deltas():
            given.append(text)

    with pytest.raises(JobFailed) as failed:
        await read()
    assert "".join(given) == folded.message["content"] == failed.value.partial


async def test_a_stream_begins_anew_with_on_retry_reset(stack: Stack, client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("fault=stream_error,after=5,times=1,tps=50"), stream=True, on_retry="reset")
    seen = await watch(client, job)
    seen.check(await stored(client, job))
    starts = [event for event in seen.decoded if event["t"] == "attempt.start"]
    assert [(start["n"], start["reset"]) for start in starts] == [(1, False), (2, True)]
    assert [event["phase"] for event in seen.decoded if event["t"] == "status"] == ["retrying"]
    epochs = sorted({id.epoch for id in seen.ids})
    calls = stack.calls_of(job.id)
    assert [call.request_id for call in calls] == [f"{job.id}.{epochs[0]}.1", f"{job.id}.{epochs[1]}.2"]
    assert account.paid_twice(calls) == 0
    # The rehearsal provider says the same again, so the text goes on where it broke off.
    texts = [text async for text in job.stream().text_deltas()]
    assert "".join(texts) == (await job.completion()).content


async def test_a_question_that_was_not_shown_yet_is_asked_again(client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("fault=503,times=2"), stream=True)
    seen = await watch(client, job)
    seen.check(await stored(client, job))
    assert [event["t"] for event in seen.decoded].count("attempt.start") == 1
    assert [event["detail"] for event in seen.decoded if event["t"] == "status"] == ["provider_unavailable"] * 2


async def test_a_stream_is_read_from_python(client: AsyncHeadrace) -> None:
    job = await client.submit(MODEL, asked("tps=100"), stream=True)
    stream = job.stream()
    events = [event async for event in stream]
    completion = await job.completion()
    assert events[0]["t"] == "attempt.start"
    assert events[-1]["t"] == "end"
    assert stream.fold.message == completion.message
    assert stream.cursor == events[-1]["id"]
    assert [event async for event in job.stream(after=events[3]["id"])] == events[4:]
    assert "".join([text async for text in job.stream().text_deltas()]) == completion.content


def test_a_stream_is_read_from_python_without_a_loop(stack: Stack) -> None:
    with Headrace(stack.ready["redis"], settings=Settings()) as client:
        job = client.submit(MODEL, asked("tps=100"), stream=True)
        texts = list(job.stream().text_deltas())
        assert len(texts) > 3
        assert "".join(texts) == job.result()
        stream = job.stream()
        for event in stream:
            if event["t"] == "text.delta":
                break  # leaving early is fine
        assert [event["t"] for event in client.job(job.id).stream(after=stream.cursor)][-1] == "end"
        assert stream.fold.message["content"]


def test_the_command_line_prints_tokens_as_they_come(stack: Stack) -> None:
    command = [sys.executable, "-m", "headrace", "run", asked("tps=15"), "--model", MODEL, "--stream"]
    times, said = [], b""
    with subprocess.Popen(command, env=stack.client_environment, stdout=subprocess.PIPE, cwd=stack.folder) as process:
        assert process.stdout is not None
        while data := process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            times.append(time.monotonic())
            said += data
    assert process.returncode == 0
    assert len(times) > 5
    assert times[-1] - times[0] > 0.3
    job = json.loads(stack.run("jobs", "list", "--limit", "1", "--json").stdout)["id"]
    assert said.decode() == stack.run("jobs", "result", job).stdout
    again = stack.run("watch", job)
    assert (again.returncode, again.stdout) == (0, said.decode())
    events = [json.loads(line) for line in stack.run("watch", job, "--json").stdout.splitlines()]
    assert [event["t"] for event in events][-1] == "end"


def test_the_command_line_tells_of_attempts_and_failures(stack: Stack) -> None:
    again = stack.run("run", asked("fault=503,times=1"), "--model", MODEL, "--stream")
    assert again.returncode == 0
    assert "retrying: provider_unavailable" in again.stderr
    failed = stack.run("run", asked("fault=cut,after=5"), "--model", MODEL, "--stream")
    assert failed.returncode == 1
    assert "incomplete_stream" in failed.stderr or "connection" in failed.stderr
    assert failed.stdout.strip()
    assert stack.run("watch", "job_" + "a" * 26).returncode == 1
    assert stack.run("watch", "job_" + "a" * 26, "--out", "x.jsonl").returncode == 2


def test_ctrl_c_leaves_a_watched_job_alone(stack: Stack) -> None:
    with Headrace(stack.ready["redis"], settings=Settings()) as client:
        job = client.submit(MODEL, asked("tps=12"), stream=True)
        command = [sys.executable, "-m", "headrace", "watch", job.id]
        process = subprocess.Popen(
            command, env=stack.client_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=stack.folder
        )
        assert process.stdout is not None
        process.stdout.read(5)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
        assert process.returncode == 130
        assert f"headrace watch {job.id}".encode() in told
        assert job.result(30)


async def test_a_kept_answer_comes_through_the_same_log(client: AsyncHeadrace, stack: Stack) -> None:
    """Paid once; whoever asks the same again sees it in one piece, and two viewers see the same."""
    question = f"{STORY} {secrets.token_hex(4)}"
    first = await client.submit(MODEL, question, stream=True, cache=True)
    paid = await first.completion()
    assert not paid.cached
    job = await client.submit(MODEL, question, stream=True, cache=True)
    async with asyncio.timeout(10):
        one, two = await asyncio.gather(*(watch(client, job) for _ in range(2)))
    assert one.events == two.events
    folded = one.check(await stored(client, job))
    assert [event["t"] for event in one.decoded] == ["attempt.start", "attempt.route", "text.delta", "usage", "end"]
    assert one.decoded[1]["cached"] is True
    assert one.decoded[-1]["cached"] is True
    again = await job.completion()
    assert (folded.message["content"], again.content, again.cached, again.cost) == (paid.content, paid.content, True, 0)
    assert stack.calls_of(job.id) == []
    assert len(stack.calls_of(first.id)) == 1
    other = await client.submit(MODEL, question, stream=True, cache=True, temperature=0.5)
    unasked = await client.submit(MODEL, question, stream=True)
    for each in (other, unasked):
        assert not (await each.completion()).cached
        assert len(stack.calls_of(each.id)) == 1


async def test_cached_answers_cost_nothing_and_expire(client: AsyncHeadrace, stack: Stack) -> None:
    question = f"{STORY} {secrets.token_hex(4)}"
    redis, spend = client.ledger.client, client.ledger.keys.spend("default")
    before = {key async for key in redis.scan_iter(client.ledger.keys.cache("*"))}
    await (await client.submit(MODEL, question, cache=True)).completion()
    (key,) = {key async for key in redis.scan_iter(client.ledger.keys.cache("*"))} - before
    assert 86_000_000 < await redis.pttl(key) <= 86_400_000
    spent = await redis.hgetall(spend)
    # Four who ask at once, and a kept answer that is no longer there: one of them pays.
    await redis.delete(key)
    jobs = [await client.submit(MODEL, question, cache=True) for _ in range(4)]
    answers = [await job.completion() for job in jobs]
    assert sum(answer.cached for answer in answers) == 3
    assert sum(len(stack.calls_of(job.id)) for job in jobs) == 1
    after = await redis.hgetall(spend)
    assert int(after[b"jobs"]) - int(spent[b"jobs"]) == 4
    assert int(after[b"output_tokens"]) - int(spent[b"output_tokens"]) == answers[0].usage.output_tokens


async def test_a_refusal_is_not_kept(client: AsyncHeadrace, stack: Stack) -> None:
    question = f"{STORY} {secrets.token_hex(4)} [[rehearsal fault=refusal]]"
    for _ in range(2):
        job = await client.submit(MODEL, question, cache=True)
        assert not (await job.completion()).cached
        assert len(stack.calls_of(job.id)) == 1


async def test_text_that_was_given_is_never_taken_back() -> None:
    from headrace.client.stream import TextPieces
    from headrace.events.fold import Fold

    texts, fold, given = TextPieces("job_x"), Fold(), []
    log = [
        {"t": "attempt.start", "n": 1, "reset": False, "reason": "claim"},
        {"t": "text.delta", "c": 0, "p": 0, "d": "The wheel "},
        {"t": "attempt.start", "n": 2, "reset": True, "reason": "crash"},
        {"t": "text.delta", "c": 0, "p": 0, "d": "The "},
        {"t": "text.delta", "c": 0, "p": 0, "d": "wheel turns"},
        {"t": "attempt.start", "n": 3, "reset": True, "reason": "crash"},
        {"t": "text.delta", "c": 0, "p": 0, "d": "Another"},
    ]
    *first, last = map(typed, log)
    for event in first:
        fold.add(event)
        given.append(texts.of(event, fold))
    fold.add(last)
    with pytest.raises(Restarted):
        texts.of(last, fold)
    assert given == [[], ["The wheel "], [], [], ["turns"], []]
