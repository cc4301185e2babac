"""Whether a request may leave is asked when its bytes are to be written, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.admission import ADMIT
from headrace_providers.wire.request import Request

from headrace.errors import Requeued

pytestmark = pytest.mark.usefixtures("each_transport")

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Provider:
    """Answers every request with `{}`; `connections` were made to it, `came` is what it was sent."""

    def __init__(self) -> None:
        self.connections = 0
        self.came = b""
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(65536):
            self.came += data
            if b"{" in data:
                writer.write(ANSWER)
        writer.close()
        self.ended.set()


@pytest.fixture
async def provider() -> AsyncIterator[tuple[Provider, str]]:
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    yield provider, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_sends_nothing_when_forbidden_after_connecting(provider: tuple[Provider, str], stream: bool) -> None:
    server, url = provider

    async def admit() -> None:
        if server.connections:
            raise Requeued("job_x")

    transport = transport_of()()
    ADMIT.set(admit)
    try:
        with pytest.raises(Requeued):
            async for _ in transport.chunks(Request(url, {}, {"stream": stream} if stream else {})):
                pass
        assert server.connections == 1
        async with asyncio.timeout(5):
            await server.ended.wait()  # nor is the connection kept
        assert server.came == b""
    finally:
        ADMIT.set(None)
        await transport.close()


async def test_a_connection_that_is_used_again_asks_again(provider: tuple[Provider, str]) -> None:
    server, url = provider
    forbidden = False

    async def admit() -> None:
        if forbidden:
            raise Requeued("job_x")

    transport = transport_of()()
    ADMIT.set(admit)
    try:
        request = Request(url, {}, {"n": 1})
        assert [chunk async for chunk in transport.chunks(request)] == [{}]
        sent, forbidden = len(server.came), True
        with pytest.raises(Requeued):
            [chunk async for chunk in transport.chunks(request)]
        assert (server.connections, len(server.came)) == (1, sent)
    finally:
        ADMIT.set(None)
        await transport.close()
