"""A gateway killed in mid-stream: its viewers go on at another one, and the job does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from event_clock import bystanding
from gateways import SLOW, another_gateway, ask, submit
from stack import started
from transcript import Transcript
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from headrace import AsyncHeadrace
from headrace.events.ids import Event, EventId
from headrace.settings import Settings

VIEWERS = 10
STALL_S = 0.9  # with the change of gateway in it; a viewer that was not told would wait for the tail check


class Viewer:
    """Of one job, at one gateway after the other; `cut_short` tells that a connection ended before the log did."""

    def __init__(self, job: str, gateways: list[str], transport: str):
        self.job = job
        self.gateways = gateways
        self.frames = over_sse if transport == "sse" else over_websocket
        self.seen = Transcript()
        self.cut_short = 0

    async def watch(self) -> None:
        for base in self.gateways:
            since_s = time.monotonic()
            after = str(self.seen.ids[-1]) if self.seen.events else "0"
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ConnectionClosed):
                async with contextlib.aclosing(self.frames(base, self.job, after)) as frames:
                    async for event in frames:
                        self.seen.add(event, time.monotonic(), since_s)
            if self.seen.events and b'"t":"end"' in self.seen.events[-1].data:
                return
            self.cut_short += 1
        raise AssertionError("never whole")


async def over_sse(base: str, job: str, after: str) -> AsyncGenerator[Event]:
    host, _, port = base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        request = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {host}:{port}\r\nLast-Event-ID: {after}\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
            *blocks, body = body.split(b"\n\n")
            for block in blocks:
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
                if b"id" in fields:
                    yield Event(EventId.parse(fields[b"id"].decode()), fields[b"data"])
    finally:
        writer.close()


async def over_websocket(base: str, job: str, after: str) -> AsyncGenerator[Event]:
    async with connect(f"ws{base[4:]}/v1/stream?job={job}&after={after}") as connection:
        while True:
            event = json.loads(await connection.recv())
            if "id" in event:
                id = event.pop("id")
                del event["v"], event["job"]
                yield Event(EventId.parse(id), json.dumps(event, separators=(",", ":")).encode())


async def test_viewers_of_a_gateway_that_is_killed_go_on_at_another(tmp_path: Path) -> None:
    with (
        started(tmp_path, "--no-flower") as stack,
        another_gateway(stack, "dying") as (dying, process),
        another_gateway(stack, "living") as (living, _),
    ):
        job = submit(dying, SLOW)
        viewers = [Viewer(job, [dying, living], transport) for transport in ("sse", "websocket") * (VIEWERS // 2)]
        async with (
            AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client,
            bystanding(client.ledger, job) as bystander,
        ):
            watching = [asyncio.create_task(viewer.watch()) for viewer in viewers]
            await kill_in_mid_stream(process, viewers)
            async with asyncio.timeout(30):
                await asyncio.gather(*watching)
            await judge(client, job, viewers, bystander.written_s)
        assert [call.request_id for call in stack.calls()] == [f"{job}.{viewers[0].seen.ids[0].epoch}.1"]
        assert ask(f"{living}/v1/jobs/{job}").json["attempts"] == 1


async def kill_in_mid_stream(process: subprocess.Popen[bytes], viewers: list[Viewer]) -> None:
    async with asyncio.timeout(20):
        while min(len(viewer.seen.events) for viewer in viewers) < 10:
            await asyncio.sleep(0.005)
    process.kill()
    await asyncio.to_thread(process.wait)


async def judge(client: AsyncHeadrace, job: str, viewers: list[Viewer], written_s: dict[EventId, float]) -> None:
    outcome = await client.ledger.client.get(f"{client.ledger.keys.job(job)}:result")
    for viewer in viewers:
        assert viewer.cut_short == 1
        viewer.seen.check(outcome)
        viewer.seen.check_never_stalled(written_s, most_s=STALL_S)
        assert viewer.seen.ids == viewers[0].seen.ids
