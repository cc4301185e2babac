"""What the direct transport does with connections: keeps them, gives them up, and sends nothing twice."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from socket import create_server, socket

import pytest
from headrace_providers.credentials import scrub
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire import connection_use
from headrace_providers.wire.admission import ADMIT
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.request import Request
from headrace_providers.wire.sdk_transport import SdkTransport
from headrace_providers.wire.transport import Deadlines

from headrace.errors import CallError, SettingsError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Connections:
    """A server in threads, so that it goes on while the loop of the test stands still. `requests` has a list for each
    connection; a connection ends after its `closes_after`-th request, answered unless `unanswered`."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.closes_after = self.ended = 0
        self.unanswered = False
        self.may_close = threading.Event()
        self.may_close.set()
        self.closed = threading.Event()
        self._listener = create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests.append([])
            threading.Thread(target=self._serve, args=(connection, self.requests[-1]), daemon=True).start()

    def _serve(self, connection: socket, requests: list[bytes]) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                requests.append(data)
                last = len(requests) == self.closes_after
                if not (last and self.unanswered):
                    connection.sendall(ANSWER)
                if last:
                    self.may_close.wait(10)
                    break
        self.ended += 1
        self.closed.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Connections]:
    server = Connections()
    yield server
    server.close()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(deadlines=Deadlines(connect_s=5, first_token_s=10, idle_s=10, total_s=10))
    yield transport
    await transport.close()


async def ask(transport: HttpTransport, url: str) -> list[object]:
    request = Request(url, {"Authorization": "Bearer k"}, {"n": 1})
    return [chunk async for chunk in transport.chunks(request)]


async def test_a_connection_is_used_again(transport: HttpTransport, server: Connections) -> None:
    for _ in range(5):
        assert await ask(transport, server.url) == [{}]
    assert [len(requests) for requests in server.requests] == [5]


async def test_sends_exactly_these_lines(transport: HttpTransport, server: Connections) -> None:
    headers = {"Authorization": "Bearer k", "X-Client-Request-Id": "job_1.2.3"}
    async for _ in transport.chunks(Request(f"{server.url}/chat/completions?v=1", headers, {"n": 1})):
        pass
    host = server.url.split("/")[2]
    assert server.requests == [
        [
            f"POST /v1/chat/completions?v=1 HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nUser-Agent: headrace\r\n"
            "Authorization: Bearer k\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n"
            'X-Client-Request-Id: job_1.2.3\r\nContent-Length: 7\r\n\r\n{"n":1}'.encode()
        ]
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
@pytest.mark.parametrize("name", ["Authorization", "X-Client-Request-Id"])
async def test_a_header_cannot_hold_another(
    transport: HttpTransport, server: Connections, name: str, value: str
) -> None:
    with pytest.raises(CallError):
        async for _ in transport.chunks(Request(server.url, {name: value}, {})):
            pass
    assert not server.requests


async def test_an_idle_connection_that_was_closed_costs_nothing(transport: HttpTransport, server: Connections) -> None:
    server.closes_after = 1
    assert await ask(transport, server.url) == [{}]
    assert server.closed.wait(10)  # the loop has not seen it: it stood still
    server.closes_after = 0
    assert await ask(transport, server.url) == [{}]
    assert [len(requests) for requests in server.requests] == [1, 1]


async def test_many_idle_connections_that_were_closed_cost_nothing(
    transport: HttpTransport, server: Connections
) -> None:
    server.closes_after = 1
    server.may_close.clear()
    await asyncio.gather(*(ask(transport, server.url) for _ in range(20)))
    server.may_close.set()
    deadline = time.monotonic() + 10
    while server.ended < 20 and time.monotonic() < deadline:
        time.sleep(0.01)  # the loop must not see it: it stands still
    server.closes_after = 0
    assert await ask(transport, server.url) == [{}]
    assert sorted(len(requests) for requests in server.requests) == [1] * 21


async def test_a_request_that_may_have_been_read_is_not_sent_again(
    transport: HttpTransport, server: Connections
) -> None:
    server.closes_after, server.unanswered = 2, True
    assert await ask(transport, server.url) == [{}]
    with pytest.raises(CallError) as raised:
        await ask(transport, server.url)
    assert raised.value.code == "connection"
    assert [len(requests) for requests in server.requests] == [2]


async def test_a_connection_that_is_lost_while_admission_is_asked_is_replaced(
    transport: HttpTransport, server: Connections
) -> None:
    asked = 0

    async def admit() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            server.may_close.set()
            await asyncio.to_thread(server.closed.wait, 10)
            server.closes_after = 0

    server.closes_after = 1
    server.may_close.clear()
    ADMIT.set(admit)
    try:
        for _ in range(2):
            assert await ask(transport, server.url) == [{}]
    finally:
        ADMIT.set(None)
    assert asked == 3, "each time a request is to be written"
    assert [len(requests) for requests in server.requests] == [1, 1]


async def test_a_connection_lives_for_so_long_only(
    transport: HttpTransport, server: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_use, "MAX_CONNECTION_S", 0.0)
    for _ in range(4):
        assert await ask(transport, server.url) == [{}]
    assert [len(requests) for requests in server.requests] == [2, 2]


async def test_after_close_it_connects_again(transport: HttpTransport, server: Connections) -> None:
    assert await ask(transport, server.url) == [{}]
    await transport.close()
    assert await ask(transport, server.url) == [{}]
    assert len(server.requests) == 2


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_proxy_of_the_environment_is_used_when_it_is_trusted(
    server: Connections, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    proxy = Connections()
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:proxy-password@").removesuffix("/v1"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("HEADRACE_TRANSPORT", "http")
    monkeypatch.setenv("HEADRACE_TRUST_ENV", str(int(trusted)))
    transport = transport_of()()
    assert isinstance(transport, HttpTransport)
    try:
        assert await ask(transport, server.url) == [{}]
        assert await ask(transport, server.url.replace("127.0.0.1", "localhost")) == [{}]
    finally:
        await transport.close()
        proxy.close()
    credential = base64.b64encode(b"me:proxy-password")
    if trusted:
        ((head,),), direct = proxy.requests, server.requests
        assert head.startswith(f"POST {server.url} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic " + credential in head
        assert len(direct) == 1
        assert "proxy-password" not in scrub("a proxy-password")
    else:
        assert (proxy.requests, sum(map(len, server.requests))) == ([], 2)
    assert not any(credential in request for requests in server.requests for request in requests)


async def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"me:proxy-password@127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    transport = HttpTransport(trust_env=True)
    with pytest.raises(CallError, match="the proxy answered 407") as raised:
        await ask(transport, "https://provider.invalid/v1")
    await transport.close()
    proxy.close()
    assert (raised.value.code, raised.value.__cause__) == ("connection", None)
    assert heads[0].startswith(b"CONNECT provider.invalid:443 ")
    assert b"Bearer" not in heads[0]


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://x:port", "http://[::1"])
async def test_a_variable_that_names_no_proxy(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.delenv("NO_PROXY", raising=False)
    transport = HttpTransport(trust_env=True)
    with pytest.raises(CallError, match="HTTPS_PROXY is no address of a proxy") as raised:
        await ask(transport, "https://provider.invalid/v1")
    assert raised.value.details == {"unreachable": True}
    await transport.close()


def test_the_variable_chooses() -> None:
    assert isinstance(transport_of({})(), HttpTransport)
    assert transport_of({"HEADRACE_TRANSPORT": "sdk", "HEADRACE_CALLS": "none of its business"}) is SdkTransport
    assert isinstance(transport_of({"HEADRACE_TRANSPORT": "http"})(), HttpTransport)
    with pytest.raises(SettingsError, match="HEADRACE_TRANSPORT='curl'"):
        transport_of({"HEADRACE_TRANSPORT": "curl"})


CALL = """
import sys
from headrace_providers import OpenAIChatCompletion

with OpenAIChatCompletion("m", base_url=sys.argv[1], api_key="none-such", retry=False) as model:
    try:
        model("x")
    except Exception as error:
        print(error)
print("openai" in sys.modules)
"""


@pytest.mark.parametrize(("kind", "imported"), [("http", "False"), ("sdk", "True")])
def test_a_call_imports_the_sdk_only_when_it_is_used(
    server: Connections, kind: str, imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TRANSPORT", kind)
    done = subprocess.run(
        [sys.executable, "-c", CALL, server.url], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.split()[-1:] == [imported], done.stderr
    assert server.requests, "it was called"
