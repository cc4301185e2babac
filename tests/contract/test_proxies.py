"""Providers behind the environment's proxies, over real sockets: tunnels, and what proxies do instead of one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from certificates import Certificates
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.tls import tls_context
from http_faults import answer, ask, failure, request_of, serving, short, writing


class Tunnel:
    """A proxy that connects to whom it is told, and keeps the heads of what it was asked."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        host, _, port = self.heads[-1].split()[1].decode().rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def transport(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> AsyncIterator[HttpTransport]:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    tls_context.cache_clear()
    transport = HttpTransport(deadlines=short(connect_s=0.5), trust_env=True)
    yield transport
    await transport.close()
    tls_context.cache_clear()


async def test_a_provider_at_the_end_of_a_tunnel(
    transport: HttpTransport, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel, heads = Tunnel(), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await request_of(reader))
            writer.write(answer())

    async with (
        serving(serve, context=certificates.context("good")) as provider,
        serving(tunnel.serve) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@{proxy}")
        for _ in range(3):
            assert await ask(transport, f"https://{provider}/") == [{"n": 1}]
        assert len(tunnel.heads) == 1, "the tunnel is used again"
        assert base64.b64encode(b"me:hunter2") in tunnel.heads[0]
        assert b"Bearer" not in tunnel.heads[0]
        assert len(heads) == 3
        assert not any(b"proxy-authorization" in head.lower() for head in heads)


async def test_a_tunnel_to_a_provider_with_another_certificate(
    transport: HttpTransport, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        serving(writing(answer()), context=certificates.context("another's")) as provider,
        serving(Tunnel().serve) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        error = await failure(transport, f"https://{provider}/")
    assert error.code == "connection"
    assert "TLS: certificate verify failed" in error.message


async def test_a_proxy_that_hangs(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        error = await failure(transport, "https://provider.invalid/")
    assert (error.code, error.message) == ("timeout", "no connection within 0.5 s")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("status", "configured"), [(b"407 Who", True), (b"403 No", True), (b"502 Later", False)])
async def test_what_a_proxy_answers_is_not_the_providers(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, scheme: str, status: bytes, configured: bool
) -> None:
    async with serving(writing(answer(b"no", status=status))) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{proxy}")
        error = await failure(transport, f"{scheme}://provider.invalid/")
    number = int(status[:3])
    if scheme == "http" and number != 407:  # nobody can tell it from the provider's own
        assert error.status == number
    else:
        assert (error.code, error.message) == ("connection", f"the proxy answered {number}")
        assert error.details == ({"unreachable": True} if configured else {})


async def test_a_provider_that_answers_as_a_proxy_would(transport: HttpTransport) -> None:
    async with serving(writing(answer(b"no", status=b"407 Who"))) as host:
        assert (await failure(transport, f"http://{host}/")).status == 407
