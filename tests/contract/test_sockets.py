"""What is written leaves at once, and leaves together: no answer waits for an acknowledgement of its first part."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlsplit

from headrace_api.__main__ import listening
from headrace_providers.wire.exchange import Connections, Route
from stack import Stack

HEAD = b"\r\n\r\n"
STORY = (
    "Tell of the river, the mill and the wheel, of the miller, his flour and his cat, one after the other, at length."
)


def asked(connection: socket.socket, body: dict[str, object]) -> None:
    content = json.dumps(body).encode()
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    )


def connected(stack: Stack) -> socket.socket:
    at = urlsplit(stack.ready["gateway"])
    return socket.create_connection((at.hostname, at.port), timeout=20)


def test_head_and_body_of_an_answer_arrive_together(stack: Stack) -> None:
    with connected(stack) as connection:
        for _ in range(5):
            asked(connection, {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Hello."}]})
            head, _, body = connection.recv(1 << 16).partition(HEAD)
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(body)["choices"]


def test_a_request_that_offers_http2_is_read_with_its_body(stack: Stack) -> None:
    """As Java's client sends every request over plain HTTP. A parser of requests that stops at the offer loses the body."""
    content = json.dumps({"model": "rehearsal/small", "messages": [{"role": "user", "content": "Hello."}]}).encode()
    with connected(stack) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
        )
        head, _, body = connection.recv(1 << 16).partition(HEAD)
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["choices"]


async def test_small_frames_wait_for_no_acknowledgement() -> None:
    """Nagle's algorithm would hold the second back for 40 ms; how often it does depends on the kernel's mood."""
    accepted: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)

    with listening("127.0.0.1", 0) as listener:
        listener.listen()
        server = await asyncio.get_running_loop().create_server(Server, sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        for end in (transport := await accepted, writer.transport):
            assert end.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()
        writer.close()
        await writer.wait_closed()
        server.close()


async def test_a_request_to_a_provider_waits_for_no_acknowledgement() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connections = Connections(most=1, connect_s=5)
    route = Route(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, asyncio.get_running_loop())
    response = await connections.post(route, b"", b"{}")
    connection = response._connection.protocol.transport.get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    response.close()
    await connections.close()
    await ended.wait()
    server.close()
