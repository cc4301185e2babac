"""The WebSocket: many jobs on one, every close code, and clients that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from gateways import SLOW, another_gateway, ask, peak_mb, rss_mb, submit, text_of
from stack import Stack, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.xdist_group("gateway-sockets")


def stream_url(base: str, query: str = "") -> str:
    return f"ws{base.removeprefix('http')}/v1/stream{query}"


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


def of(frames: list[dict[str, Any]], job: str) -> str:
    return text_of(
        [(frame.get("id"), json.dumps(frame)) for frame in frames if frame.get("job") == job and "id" in frame]
    )


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
            assert of(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]
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
    assert of(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]


async def test_a_tool_call_keeps_its_id_and_the_frame_its_own(base: str) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    job = submit(base, "Look!", tools=[tool], tool_choice="required")
    async with connect(stream_url(base, f"?job={job}")) as connection:
        _, frames = await until_closed(connection)
    (call,) = ask(f"{base}/v1/jobs/{job}").json["completion"]["tool_calls"]
    (start,) = [frame for frame in frames if frame["t"] == "tool.start"]
    assert (start["call_id"], start["job"]) == (call["id"], job)
    of(frames, job)


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
    assert of(frames, job) == ask(f"{base}/v1/jobs/{job}").json["completion"]["content"]


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


def test_pings_of_who_never_reads_are_not_heaped_up(stack: Stack, base: str) -> None:
    job = submit(base)
    ping = bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + b"x" * 125
    with another_gateway(stack, "pinged", HEADRACE_SLOW_READER_S="60") as (pinged, process):
        before, sent = rss_mb(process.pid), 0
        with contextlib.closing(
            never_reads(pinged, WEBSOCKET.format(job=job).replace(f"?job={job}", ""))
        ) as connection:
            assert connection.recv(12) == b"HTTP/1.1 101"
            connection.setblocking(False)
            ends = time.monotonic() + 3
            while time.monotonic() < ends and sent < 200 << 20:
                try:
                    sent += connection.send((ping * 500)[sent % len(ping) :])
                except BlockingIOError:
                    time.sleep(0.01)
            assert rss_mb(process.pid) - before < 20, f"after {sent >> 20} MiB"


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


def never_reads(base: str, request: str, window: int = 4096) -> socket.socket:
    host, _, port = base.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    connection.sendall(request.format(host=host, port=port).encode())
    return connection


WEBSOCKET = (
    "GET /v1/stream?job={job} HTTP/1.1\r\nHost: {{host}}:{{port}}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
EVENTS = "GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {{host}}:{{port}}\r\n\r\n"


def long_log(stack: Stack, base: str) -> str:
    """A job with 24 MB of events: more than the kernel keeps for a client."""
    job = submit(base)
    until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="it is done")
    delta = json.dumps({"t": "text.delta", "c": 0, "p": 0, "d": "x" * 60_000})
    with stack.client as client:
        log = f"{{hr}}:job:{job}:log"
        ((first, start), *_, (_, end)) = client.xrange(log)  # type: ignore[misc, union-attr]
        epoch = first.decode().partition("-")[0]
        client.delete(log)
        entries = [start, *[{"d": delta}] * 400, end]
        for seq, fields in enumerate(entries, 1):
            client.xadd(log, fields, id=f"{epoch}-{seq}")
        client.hset(f"{{hr}}:job:{job}", "seq", len(entries))
    return job


def compacted_log(stack: Stack, base: str) -> str:
    """A job whose log begins with a snapshot of 8 MB."""
    job = submit(base)
    until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="it is done")
    message = {"role": "assistant", "content": "x" * (8 << 20)}
    with stack.client as client:
        log = f"{{hr}}:job:{job}:log"
        last, end = client.xrange(log)[-1]  # type: ignore[index]
        epoch, _, seq = last.decode().partition("-")
        snapshot = json.dumps({"t": "snapshot", "upto": int(seq) - 2, "message": message}, separators=(",", ":"))
        client.delete(log)
        client.xadd(log, {"d": snapshot}, id=f"{epoch}-{int(seq) - 1}")
        client.xadd(log, end, id=last)
    return job


async def test_a_large_message_comes_whole_and_waits_for_nobody(stack: Stack, base: str) -> None:
    job, other = compacted_log(stack, base), submit(base, SLOW)
    silent = [never_reads(base, WEBSOCKET.format(job=job)) for _ in range(6)]
    try:
        async with connect(stream_url(base), max_size=None) as connection:
            for _ in range(3):
                await connection.send(json.dumps({"op": "sub", "job": job}))
                async with asyncio.timeout(5):
                    frames = [json.loads(await connection.recv()) for _ in range(3)]
                assert [frame["t"] for frame in frames] == ["snapshot", "end", "closed"]
                assert len(frames[0]["message"]["content"]) == 8 << 20
            # Left in the middle of it: the message comes to its end, and the next one is whole.
            await connection.send(json.dumps({"op": "sub", "job": job}))
            await asyncio.sleep(0.02)
            await connection.send(json.dumps({"op": "unsub", "job": job}))
            await connection.send(json.dumps({"op": "sub", "job": other}))
            async with asyncio.timeout(20):
                seen = [json.loads(await connection.recv())]
                while not (seen[-1]["t"] == "closed" and seen[-1]["job"] == other):
                    seen.append(json.loads(await connection.recv()))
            of(seen, other)
    finally:
        for each in silent:
            each.close()


@pytest.mark.parametrize("make_log", [long_log, compacted_log])
@pytest.mark.parametrize("request_text", [WEBSOCKET, EVENTS], ids=["websocket", "sse"])
def test_a_reader_that_never_reads_is_dropped(
    stack: Stack, base: str, request_text: str, make_log: Callable[[Stack, str], str]
) -> None:
    job = make_log(stack, base)
    with another_gateway(stack, "strict", HEADRACE_SLOW_READER_S="1") as (strict, process):
        before = rss_mb(process.pid)
        connections = [never_reads(strict, request_text.format(job=job)) for _ in range(20)]
        try:
            until(lambda: open_sockets(process.pid, strict) == 20, what="all are there")
            until(lambda: open_sockets(process.pid, strict) == 0, what="all are dropped", seconds=20)
            assert peak_mb(process.pid) - before < 80
        finally:
            for connection in connections:
                connection.close()


def test_a_reader_that_wakes_up_is_told_why(stack: Stack, base: str) -> None:
    """Two seconds lie between the decision and the cut; the machine's load says which of the waits falls into them."""
    job = long_log(stack, base)
    told = (4408).to_bytes(2, "big") + b"nothing was taken"
    with another_gateway(stack, "strict", HEADRACE_SLOW_READER_S="0.5") as (strict, _):
        for wait_s in (1.0, 1.5, 2.0, 0.8, 2.4):
            connection = never_reads(strict, WEBSOCKET.format(job=job), window=1 << 20)
            began = time.monotonic()
            until(lambda began=began, wait_s=wait_s: time.monotonic() > began + wait_s, what="it slept")
            with connection:
                if told in drained(connection)[-200:]:
                    return
    raise AssertionError("never told 4408")


def drained(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(1 << 20):
            data += part
    except ConnectionResetError:
        pass
    return data


def open_sockets(pid: int, base: str) -> int:
    """Established connections to the gateway's port, as the kernel lists them for that process."""
    from pathlib import Path

    port = int(base.rpartition(":")[2])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
