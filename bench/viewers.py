"""Viewers: one light process that reads many SSE streams of a gateway, and says how late each chunk was.

It submits the jobs, opens the streams, and lets the streaming stub go once every job is held there. Bytes are kept as they
come, with the time, and read at the end. With `--late`, the viewers come `--late` seconds after the stub went, `--pace` a
second. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import resource
import time
import urllib.request
from urllib.parse import urlsplit

BODY = {"model": "openai/stub", "messages": [{"role": "user", "content": "Stream, please."}]}
BORN = re.compile(rb'"d":"([0-9. ]+)"')
END = b'{"t":"end"'
DEADLINE_S = 60.0


class Stream(asyncio.Protocol):
    """One response as it comes: `pieces` are `(when, bytes)`."""

    def __init__(self, host: str, path: str):
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
        self.opened = time.monotonic()
        self.pieces: list[tuple[float, bytes]] = []
        self.closed = asyncio.get_running_loop().create_future()
        self.began = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic(), data))
        if not self.began.done() and b'"t":"attempt.route"' in data:
            self.began.set_result(None)
        # A server keeps the connection of a finished response: its last chunk is empty.
        if data.endswith(b"0\r\n\r\n") and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    @property
    def ended(self) -> bool:
        return any(END in data for _, data in self.pieces[-3:])

    def chunks(self) -> list[tuple[float, float]]:
        """`(when it was born, when it came)` of every chunk; what is cut between two pieces came with the later one."""
        found: list[tuple[float, float]] = []
        rest = b""
        for when, data in self.pieces:
            rest += data
            whole, cut, rest = rest.rpartition(b"\n\n")
            for match in BORN.finditer(whole + cut):
                found += [(float(born), when) for born in match[1].split()]
        return found


async def run(given: argparse.Namespace) -> dict[str, object]:
    loop, host = asyncio.get_running_loop(), urlsplit(given.gateway)
    jobs = await asyncio.gather(*(asyncio.to_thread(submit, given.gateway) for _ in range(given.jobs)))
    while int(await asyncio.to_thread(call, f"{given.stub}/open")) < given.jobs:
        await asyncio.sleep(0.02)
    streams: list[Stream] = []

    async def view(job: str) -> None:
        stream = Stream(host.netloc, f"/v1/jobs/{job}/events")
        streams.append(stream)
        await loop.create_connection(lambda: stream, host.hostname, host.port)

    async def view_all() -> None:
        for number in range(given.viewers):
            await view(jobs[number % len(jobs)])
            if given.pace:
                await asyncio.sleep(1 / given.pace)

    go = f"{given.stub}/go?chunks={given.chunks}&rate={given.rate}"
    if given.late:
        await asyncio.to_thread(call, go)
        await asyncio.sleep(given.late)
        await view_all()
    else:
        await view_all()
        await asyncio.gather(*(stream.began for stream in streams))
        await asyncio.to_thread(call, go)
    start_s = time.process_time()
    used_s, began_s = time.process_time(), time.monotonic()
    await asyncio.wait([stream.closed for stream in streams], timeout=DEADLINE_S)
    used_s, seconds = time.process_time() - used_s, time.monotonic() - began_s
    chunks = [stream.chunks() for stream in streams]
    # What was there before a viewer came is history: it comes at once, however old it is.
    late_ms = sorted(
        (came - born) * 1000
        for stream, pairs in zip(streams, chunks, strict=True)
        for born, came in pairs
        if born > stream.opened
    )
    return {
        "viewers": len(streams),
        "seconds": seconds,
        "ended": sum(stream.ended for stream in streams),
        "whole": sum(len(stream) == given.chunks and stream == sorted(stream) for stream in chunks),
        "chunks": sum(map(len, chunks)),
        "pieces": sum(len(stream.pieces) for stream in streams),
        "p50_ms": share(late_ms, 0.5),
        "p99_ms": share(late_ms, 0.99),
        "max_ms": late_ms[-1],
        "newest_p99_ms": share(sorted(map(to_newest_ms, streams)), 0.99),
        "cpu_s": used_s,
        "start_cpu_s": start_s,
    }


def to_newest_ms(stream: Stream) -> float:
    """From the connect until it had every chunk that was born before: it has caught up."""
    opened, caught_up = stream.opened, stream.opened
    for born, came in stream.chunks():
        if born > opened:
            break
        caught_up = came
    return (caught_up - opened) * 1000


def share(values: list[float], part: float) -> float:
    """The value below which `part` of the sorted `values` lie."""
    return values[int(len(values) * part)]


def submit(gateway: str) -> str:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{gateway}/v1/jobs", json.dumps(BODY).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["id"]


def call(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gateway")
    parser.add_argument("stub")
    for name, kind, default in (
        *(("jobs", int, 100), ("viewers", int, 100), ("chunks", int, 400)),
        *(("rate", float, 50), ("late", float, 0), ("pace", float, 0)),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    # A collection here would be taken for lateness there.
    gc.disable()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
