"""What a transport makes of a connection that breaks HTTP, over real sockets: a `CallError` with the code of the fault."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.request import Request
from headrace_providers.wire.tls import tls_context
from headrace_providers.wire.transport import Deadlines, Transport

from headrace.errors import CallError

SHORT = Deadlines(connect_s=0.5, first_token_s=10, idle_s=10, total_s=10)
FRAMED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

FAULTS: dict[str, tuple[bytes, str]] = {
    "closed without an answer": (b"", "connection"),
    "closed within the head": (b"HTTP/1.1 200 OK\r\nContent-Le", "connection"),
    "no status line": (b"NOPE\r\n\r\n", "connection"),
    "a header of 100 KB": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n{}", "connection"),
    "500 headers": (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(500)) + b"\r\n{}",
        "connection",
    ),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "connection"),
    "a chunk without a size": (FRAMED + b"zz\r\n{}\r\n", "connection"),
    "closed within a chunk": (FRAMED + b'10\r\n{"a": ', "connection"),
    "closed within the body": (b'HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"a"', "connection"),
    "closed within the body of an error": (b'HTTP/1.1 500 No\r\nContent-Length: 200\r\n\r\n{"a"', "connection"),
    "an encoding nobody knows": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        "provider_error",
    ),
    "gzip that is none": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        "provider_error",
    ),
    "switching protocols": (
        b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "invalid_request",
    ),
    "a redirect": (b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "invalid_request"),
    "an error in what is no encoding of text": (
        b"HTTP/1.1 403 No\r\nContent-Type: text/plain; charset=hex\r\nContent-Length: 2\r\n\r\nno",
        "auth",
    ),
    "an error without JSON": (b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", "auth"),
    "an error of the server": (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "provider_unavailable"),
}


@pytest.fixture
async def transport(each_transport: None) -> AsyncIterator[Transport]:
    made = transport_of()(deadlines=SHORT)
    yield made
    await made.close()


@asynccontextmanager
async def answering(raw: bytes, *, first: bool = False) -> AsyncIterator[str]:
    """The address of a server that answers a request with `raw` and closes; with `first` it does not wait for the request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def ask(transport: Transport, url: str, *, stream: bool = False) -> list[object]:
    body = {"stream": True} if stream else {}
    return [chunk async for chunk in transport.chunks(Request(url, {"Authorization": "Bearer k"}, body))]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_http_is_a_typed_error(transport: Transport, fault: str, stream: bool) -> None:
    raw, code = FAULTS[fault]
    async with answering(raw) as host:
        with pytest.raises(CallError) as raised:
            await ask(transport, f"http://{host}/", stream=stream)
    assert raised.value.code == code
    assert raised.value.__cause__ is None, "what the library says may show the request"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
async def test_early_hints_and_http_1_0_are_read(transport: Transport, head: bytes) -> None:
    async with answering(head + b"{}") as host:
        assert await ask(transport, f"http://{host}/") == [{}]


async def test_nobody_listens(transport: Transport) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(CallError, match="refused") as raised:
            await ask(transport, f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert (raised.value.code, raised.value.details) == ("connection", {"unreachable": True})


async def test_a_name_that_nobody_knows(transport: Transport) -> None:
    with pytest.raises(CallError) as raised:
        await ask(transport, "http://no-such-host.invalid/")
    assert (raised.value.code, raised.value.details) == ("connection", {"unreachable": True})


@pytest.fixture
def full() -> Iterator[str]:
    """The address of a listener that accepts nobody any more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


async def test_no_connection_in_time(transport: Transport, full: str) -> None:
    with pytest.raises(CallError, match=r"no connection within 0\.5 s") as raised:
        await ask(transport, f"http://{full}/")
    assert raised.value.code == "timeout"


async def test_no_tls_at_the_other_end(transport: Transport) -> None:
    async with answering(b"HTTP/1.1 400 No\r\n\r\n", first=True) as host:
        with pytest.raises(CallError, match="TLS") as raised:
            await ask(transport, f"https://{host}/")
    assert raised.value.code == "connection"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate of 127.0.0.1 that nobody signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", file, "-out", file.with_suffix(".crt")], check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


@asynccontextmanager
async def answering_over_tls(certificate: Path) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_certificate_that_nobody_signed(
    transport: Transport, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # the environment is not asked
    async with answering_over_tls(certificate) as port:
        with pytest.raises(CallError, match="TLS: certificate verify failed") as raised:
            await ask(transport, f"https://127.0.0.1:{port}/")
    assert raised.value.code == "connection"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_of_the_environment_holds_for_its_own_host(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    tls_context.cache_clear()
    transport = HttpTransport(deadlines=SHORT, trust_env=True)
    try:
        async with answering_over_tls(certificate) as port:
            if host == "127.0.0.1":
                assert await ask(transport, f"https://{host}:{port}/") == [{}]
            else:
                with pytest.raises(CallError, match="TLS: certificate verify failed"):
                    await ask(transport, f"https://{host}:{port}/")
    finally:
        await transport.close()
        tls_context.cache_clear()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_a_fault_leaves_no_connection_behind(transport: Transport) -> None:
    refused = "http://127.0.0.1:1/"
    async with AsyncExitStack() as servers:
        hosts = [await servers.enter_async_context(answering(raw)) for raw, _ in FAULTS.values()]
        with suppress(CallError):
            await ask(transport, refused)
        before = open_files()
        for host in hosts:
            for n in range(20):
                with pytest.raises(CallError):
                    await ask(transport, f"http://{host}/", stream=n % 2 == 1)
                with suppress(CallError):
                    await ask(transport, refused)
        async with asyncio.timeout(20):
            while open_files() > before:  # whoever serves closes each of them
                await asyncio.sleep(0)
