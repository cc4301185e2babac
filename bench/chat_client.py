"""A raw client for plain chats: a connection for each call in flight, which asks again as soon as it has its answer.

It costs little and always the same, so that what is measured is who answers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import NamedTuple
from urllib.parse import urlsplit


class Chats(NamedTuple):
    """What a number of chats took: the seconds of all, and the latency of each in milliseconds."""

    seconds: float
    latencies_ms: list[float]


async def ask(base_url: str, model: str, token: str, count: int, in_flight: int) -> Chats:
    """Put `count` chats to `base_url`, `in_flight` at a time. Raises `SystemExit` for anything but an answer."""
    url = urlsplit(base_url)
    assert url.hostname
    numbers = iter(range(count))
    latencies_ms: list[float] = []
    barrier = asyncio.Barrier(in_flight + 1)

    async def one() -> None:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        await barrier.wait()
        for _ in numbers:
            began = time.perf_counter()
            writer.write(request(url.netloc, f"{url.path}/chat/completions", model, token))
            answer = json.loads(await body_of(reader))
            latencies_ms.append((time.perf_counter() - began) * 1000)
            if not answer.get("choices"):
                raise SystemExit(f"{base_url} answered {answer}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one())
        await barrier.wait()
        began = time.perf_counter()
    return Chats(time.perf_counter() - began, latencies_ms)


_serial = itertools.count()


def request(host: str, path: str, model: str, token: str) -> bytes:
    """A request that no other is like: an answer from a cache would be none."""
    messages = [{"role": "user", "content": f"Chat {next(_serial)}: what does a kettle cost?"}]
    body = json.dumps({"model": model, "messages": messages}).encode()
    headers = {
        "Host": host,
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def body_of(reader: asyncio.StreamReader) -> bytes:
    """Read one response and return its body, given by its length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length))
