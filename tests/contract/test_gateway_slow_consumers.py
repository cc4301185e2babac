"""Clients that read slowly or never: they are told or dropped, and cost the gateway no memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable

import pytest
from gateways import SLOW, another_gateway, ask, compacted_log, peak_mb, rss_mb, stream_url, submit, text_of_frames
from stack import Stack, until
from websockets.asyncio.client import connect


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
            text_of_frames(seen, other)
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
