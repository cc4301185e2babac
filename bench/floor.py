"""How far a call to a provider is from the least that it could cost. `python -m bench.run floor`.

CPU of one process for the same exchange with the raw stub, 16 in flight over connections that are kept, in rounds that take
turns: a protocol of asyncio that knows the response's length and reads nothing of it; the session of aiohttp; headrace's
transport; and the call with all that it makes of the answer.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
from headrace_providers import OpenAIChatCompletion
from headrace_providers.wire.http_transport import HttpTransport

from bench.peers import item
from bench.provider import TOGETHER, cost_of
from bench.report.figures import Figures, row
from bench.scale import scaled
from bench.service import stub
from bench.stub import RESPONSE
from headrace.jobs.job import Job

ROUNDS, CALLS = 9, 600
RAW, SESSION = "a raw exchange on asyncio", "a call over aiohttp's session"
TRANSPORT, COMPLETION = "a call over headrace's transport", "a completion"
JOB = Job(model="openai/stub", messages=item.request(1)["messages"], schema=item.SCHEMA)

Call = Callable[[], Awaitable[None]]


def figures() -> Figures:
    with tempfile.TemporaryDirectory() as folder, stub(Path(folder)) as url:
        costs_us = asyncio.run(measured(url))
    made = [row(f"CPU of {name}", cost, "us") for name, cost in costs_us.items()]
    for name in (TRANSPORT, COMPLETION):
        made.append(row(f"CPU of {name}, against a raw exchange", costs_us[name] / costs_us[RAW], "x"))
    return Figures(made)


async def measured(url: str) -> dict[str, float]:
    """CPU microseconds of each, the median of the rounds."""
    model = OpenAIChatCompletion("stub", base_url=url, api_key="stub", retry=False)
    request = model.request(JOB)
    content = msgspec.json.encode(request.body)
    headers = request.headers | {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        transport, raw = HttpTransport(), RawConnections(request.url, headers, content)

        async def over_session() -> None:
            async with session.post(request.url, data=content, headers=headers) as response:
                assert await response.read()

        async def over_transport() -> None:
            assert [chunk async for chunk in transport.chunks(request)]

        async def completed() -> None:
            assert (await model.complete(JOB)).value

        calls = {RAW: raw.call, SESSION: over_session, TRANSPORT: over_transport, COMPLETION: completed}
        costs_us = await medians_us(calls, ROUNDS, scaled(CALLS, least=50))
        raw.close()
        await transport.close()
    await model.close()
    return costs_us


async def medians_us(calls: Mapping[str, Call], rounds: int, count: int) -> dict[str, float]:
    """CPU microseconds of one call of each, the median of rounds in which they take turns, after one to warm up."""
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            cost_s = await cost_of(call, count)
            if number:
                costs[name].append(cost_s * 1e6)
    return {name: statistics.median(each) for name, each in costs.items()}


class RawConnections:
    """One request, written as it is to whatever connection is free; a response is so many bytes."""

    def __init__(self, url: str, headers: Mapping[str, str], content: bytes):
        at = urlsplit(url)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._bytes = (
            f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        self._host, self._port = at.hostname, at.port
        self._free: list[RawConnection] = []

    async def call(self) -> None:
        if self._free:
            connection = self._free.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(RawConnection, self._host, self._port)
        await connection.exchange(self._bytes)
        self._free.append(connection)

    def close(self) -> None:
        assert len(self._free) <= TOGETHER
        for connection in self._free:
            connection.transport.close()


class RawConnection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._left = 0
        self._answered: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def exchange(self, request: bytes) -> None:
        self._left, self._answered = len(RESPONSE), asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._answered

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left == 0:
            self._answered.set_result(None)
