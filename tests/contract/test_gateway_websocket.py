"""The WebSocket: many jobs on one, every close code, and malicious clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from gateways import SLOW, another_gateway, ask, rss_mb, stream_url, submit, text_of_frames
from stack import Stack, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


async def until_closed(connection: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """The code it is closed with, and what came before."""
    async with asyncio.timeout(30):
        frames = [json.loads(frame) async for frame in messages(connection)]
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code, frames


async def messages(connection: ClientConnection) -> AsyncGenerator[str | bytes]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield await connection.recv()


async def test_many_jobs_on_one_connection(base: str) -> None:
    jobs = [submit(base, f"{n} {SLOW}") for n in range(5)]
    async with connect(stream_url(base), subprotocols=["headrace.v1"]) as connection:  # type: ignore[list-item]
        assert connection.subprotocol == "headrace.v1"
        for job in jobs:
            await connection.send(json.dumps({"op": "sub", "job": job}))
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while sum(frame["t"] == "closed" for frame in frames) < len(jobs):
                frames.append(json.loads(await connection.recv()))
        assert {frame["code"] for frame in frames if frame["t"] == "closed"} == {1000}
        for job in jobs:
            assert text_of_frames(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]
        assert all(frame["v"] == 1 for frame in frames)


async def test_a_connection_that_is_cut_goes_on_after_its_cursor(base: str) -> None:
    job = submit(base, SLOW)
    frames: list[dict[str, Any]] = []
    for take in (3, 5, 10_000):
        after = f"&after={frames[-1]['id']}" if frames else ""
        async with (
            asyncio.timeout(30),
            connect(stream_url(base, f"?job={job}{after}")) as connection,
            contextlib.aclosing(messages(connection)) as found,
        ):
            async for frame in found:
                frames.append(json.loads(frame))
                take -= 1
                if not take:
                    break
    assert connection.close_code == 1000
    assert text_of_frames(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]


async def test_a_tool_call_keeps_its_id_and_the_frame_its_own(base: str) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    job = submit(base, "Look!", tools=[tool], tool_choice="required")
    async with connect(stream_url(base, f"?job={job}")) as connection:
        _, frames = await until_closed(connection)
    (call,) = ask(f"{base}/v1/jobs/{job}").json["completion"]["tool_calls"]
    (start,) = [frame for frame in frames if frame["t"] == "tool.start"]
    assert (start["call_id"], start["job"]) == (call["id"], job)
    text_of_frames(frames, job)


async def test_a_lowered_answer_is_in_the_callers_form_here_too(base: str) -> None:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}
    schema = {"type": "object", "properties": {"m": counts}, "required": ["m"], "additionalProperties": False}
    job = submit(base, "x", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    async with connect(stream_url(base, f"?job={job}&view=openai")) as connection:
        _, frames = await until_closed(connection)
    chunks = [frame["d"] for frame in frames if isinstance(frame.get("d"), dict)]
    said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert json.loads(said) == ask(f"{base}/v1/jobs/{job}").json["completion"]["value"]


async def test_unsub_and_cancel(base: str) -> None:
    job, other = submit(base, SLOW), submit(base, f"other {SLOW}")
    async with connect(stream_url(base)) as connection:
        for each in (job, other):
            await connection.send(json.dumps({"op": "sub", "job": each}))
        await connection.send(json.dumps({"op": "unsub", "job": other}))
        await connection.send(json.dumps({"op": "cancel", "job": job}))
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while not any(frame["t"] == "closed" and frame["job"] == job for frame in frames):
                frames.append(json.loads(await connection.recv()))
    (end,) = [frame for frame in frames if frame["t"] == "end"]
    assert (end["job"], end["status"]) == (job, "cancelled")
    assert any(frame["t"] == "cancelled" for frame in frames)
    assert ask(f"{base}/v1/jobs/{other}").json["status"] in ("queued", "running")
    ask(f"{base}/v1/jobs/{other}/cancel", "POST", {})


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?job=job_nothing", 4404),
        ("?job=batch_x", 4404),
        ("?job=DONE&after=xx", 4400),
        ("?job=DONE&after=17-4.2", 4400),
        ("?job=DONE&view=nope", 4400),
        ("?job=DONE&st=junk", 4401),
        ("?job=DONE&after=now", 1000),
    ],
)
async def test_codes_of_a_job_in_the_url(base: str, query: str, code: int) -> None:
    job = submit(base)
    until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="it is done")
    async with connect(stream_url(base, query.replace("DONE", job))) as connection:
        assert await until_closed(connection) == (code, [])


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"binary", 4400),
        ("x" * 70_000, 1009),
        ('{"op": "sub"', 4400),
        ('{"op": "shout", "job": "job_x"}', 4400),
        ('{"op": "sub"}', 4400),
        ('{"op": "sub", "job": 3}', 4400),
        ('{"op": "sub", "job": "job_x", "more": 1}', 4400),
        ("[" * 5000, 4400),
        ("null", 4400),
        ("", 4400),
    ],
)
async def test_frames_that_are_refused(base: str, frame: str | bytes, code: int) -> None:
    async with connect(stream_url(base)) as connection:
        await connection.send(frame)
        closed, _ = await until_closed(connection)
        assert closed == code


async def test_one_subscription_too_many(stack: Stack) -> None:
    with another_gateway(stack, "narrow", HEADRACE_GATEWAY_SUBSCRIPTIONS="3") as (base, _):
        jobs = [submit(base, f"{n} {SLOW}") for n in range(4)]
        async with connect(stream_url(base)) as connection:
            for job in jobs:
                await connection.send(json.dumps({"op": "sub", "job": job}))
            closed, _ = await until_closed(connection)
        assert closed == 4429
        assert {ask(f"{base}/v1/jobs/{job}/cancel", "POST", {}).status for job in jobs} == {200}, "they went on"


async def test_ten_thousand_subscriptions(stack: Stack, base: str) -> None:
    """Of jobs that nobody knows, from a client that only talks: cut off, and nothing is kept of it."""
    before = rss_mb(stack.ready["gateway_pid"])
    async with connect(stream_url(base)) as connection:
        with contextlib.suppress(ConnectionClosed):
            for n in range(10_000):
                await connection.send(json.dumps({"op": "sub", "job": f"job_{n:026d}"}))
        closed, frames = await until_closed(connection)
    assert closed == 4429
    assert {frame["code"] for frame in frames} <= {4404}
    assert rss_mb(stack.ready["gateway_pid"]) - before < 20


async def test_a_job_that_is_left_and_taken_up_all_the_time_comes_once(base: str) -> None:
    """After `closed` nothing more of it comes, and what comes after a new `sub` begins at its start, in order."""
    job = submit(base, SLOW)
    chance = random.Random(7)
    async with connect(stream_url(base)) as connection:
        for _ in range(150):
            await connection.send(json.dumps({"op": "sub", "job": job}))
            await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.002, 0.01]))
            await connection.send(json.dumps({"op": "unsub", "job": job}))
        await connection.send(json.dumps({"op": "sub", "job": job}))
        told, frames = 0, []
        async with asyncio.timeout(30):
            while told < 151:
                frame = json.loads(await connection.recv())
                if frame["t"] == "closed":
                    told += 1
                    assert frame["code"] == 1000
                    if told < 151:
                        frames = []
                else:
                    frames.append(frame)
    assert text_of_frames(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]


async def test_as_many_connections_as_there_may_be(stack: Stack) -> None:
    with another_gateway(stack, "narrow", HEADRACE_GATEWAY_STREAMS="2") as (base, _):
        job = submit(base, SLOW)
        async with connect(stream_url(base)), connect(stream_url(base)):
            async with connect(stream_url(base)) as third:
                assert (await until_closed(third))[0] == 4429
            assert ask(f"{base}/v1/jobs/{job}/events").status == 429
            # Refused before anything is accepted: the official client tries again twice, and would pay three times.
            before = len(stack.calls())
            talk = [{"role": "user", "content": "Once!", "parts": [{"type": "text", "text": "Once!"}]}]
            body = {"model": "rehearsal/small", "messages": talk[:1], "stream": True, "id": "chat", "threadId": "t"}
            for route in ("chat/completions", "ui/chat", "ag-ui"):
                messages = [{key: talk[0][key] for key in ("role", "parts" if route == "ui/chat" else "content")}]
                answer = ask(f"{base}/v1/{route}", "POST", body | {"messages": messages})
                assert answer.status == 429, (route, answer.body)
                assert "x-headrace-job" not in answer.headers
        until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="the first is done")
        assert len(stack.calls()) - before <= 1


async def test_the_same_job_twice(base: str) -> None:
    job = submit(base, SLOW)
    async with connect(stream_url(base)) as connection:
        for _ in range(2):
            await connection.send(json.dumps({"op": "sub", "job": job}))
        closed, _ = await until_closed(connection)
        assert closed == 4400


@pytest.mark.parametrize("op", ["sub", "cancel"])
async def test_an_address_in_place_of_a_job_is_not_told_with_its_password(base: str, op: str) -> None:
    async with connect(stream_url(base)) as connection:
        await connection.send(json.dumps({"op": op, "job": "https://user:hunter2@host/v1?api_key=hunter2"}))
        async with asyncio.timeout(10):
            said = await connection.recv()
    assert "4404" in str(said)
    assert "hunter2" not in str(said)


async def test_another_sites_page(base: str) -> None:
    async with connect(stream_url(base), origin="https://evil.example") as connection:  # type: ignore[arg-type]
        assert await until_closed(connection) == (4403, [])
    answer = ask(f"{base}/v1/jobs", "POST", {}, origin="https://evil.example")
    assert (answer.status, answer.json["error"]["code"]) == (403, "forbidden")
    assert ask(f"{base}/v1/jobs/job_x", host="evil.example").status == 403, "another name for this machine"


async def test_a_silent_connection_says_so_and_a_deploy_ends_it(stack: Stack) -> None:
    with another_gateway(stack, "beats", HEADRACE_HEARTBEAT_S="0.1") as (base, process):
        async with connect(stream_url(base)) as connection:
            async with asyncio.timeout(10):
                assert json.loads(await connection.recv()) == {"v": 1, "t": "hb"}
            process.send_signal(signal.SIGTERM)
            code, frames = await until_closed(connection)
        assert code == 1012
        assert frames[-1]["t"] == "bye"
