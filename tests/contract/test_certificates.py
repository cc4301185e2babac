"""Which certificates are believed, over real handshakes; and servers that do not come to one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from certificates import Certificates
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.tls import tls_context
from headrace_providers.wire.transport import Transport
from http_faults import FAULTS, MAX_BYTES, answer, ask, failure, request_of, serving, short, writing


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def transport(each_transport: None) -> AsyncIterator[Transport]:
    made = transport_of()(deadlines=short(connect_s=2))
    yield made
    await made.close()


@pytest.fixture
def trusting(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpTransport]:
    """A transport that believes the tests' CA."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    tls_context.cache_clear()
    yield HttpTransport(deadlines=short(connect_s=2), most_bytes=MAX_BYTES, trust_env=True)
    tls_context.cache_clear()


async def test_no_tls_at_the_other_end(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 No\r\n\r\n")

    async with serving(serve) as host:
        error = await failure(transport, f"https://{host}/")
    assert (error.code, error.message[:4], error.details) == ("connection", "the ", {})
    assert "TLS" in error.message


async def test_tls_where_none_is_expected(transport: Transport, certificates: Certificates) -> None:
    async with serving(writing(answer()), context=certificates.context("good")) as host:
        assert (await failure(transport, f"http://{host}/")).code == "connection"


async def test_a_handshake_that_hangs(certificates: Certificates, each_transport: None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    transport = transport_of()(deadlines=short(connect_s=0.3))
    async with serving(serve) as host:
        error = await failure(transport, f"https://{host}/")
    assert (error.code, error.message) == ("timeout", "no connection within 0.3 s")
    await transport.close()


@pytest.mark.parametrize("name", ["self-signed", "good", "expired", "another's"])
async def test_a_certificate_of_an_unknown_authority(
    transport: Transport, certificates: Certificates, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))  # the environment is not asked
    async with serving(writing(answer()), context=certificates.context(name)) as host:
        error = await failure(transport, f"https://{host}/")
    assert error.code == "connection"
    assert "TLS: certificate verify failed" in error.message


@pytest.mark.parametrize("name", ["self-signed", "expired", "another's"])
async def test_a_faulty_certificate_of_a_known_authority(
    trusting: HttpTransport, certificates: Certificates, name: str
) -> None:
    async with serving(writing(answer()), context=certificates.context(name)) as host:
        error = await failure(trusting, f"https://{host}/")
    assert error.code == "connection"
    assert "TLS: certificate verify failed" in error.message
    await trusting.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_of_the_environments_authority(
    trusting: HttpTransport, certificates: Certificates, host: str
) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await request_of(reader))
            writer.write(answer())

    async with serving(serve, context=certificates.context("good")) as address:
        url = f"https://{host}:{address.rpartition(':')[2]}/"
        for _ in range(3):
            assert await ask(trusting, url) == [{"n": 1}]
    assert len(heads) == 3
    await trusting.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_file_of_the_environment_that_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    tls_context.cache_clear()
    transport = HttpTransport(trust_env=True)
    error = await failure(transport, "https://127.0.0.1:9/")
    assert (error.code, error.details) == ("connection", {"unreachable": True})
    assert "SSL_CERT_FILE" in error.message
    await transport.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_http_over_tls_is_the_same_error(
    trusting: HttpTransport, certificates: Certificates, fault: str
) -> None:
    raw, code = FAULTS[fault]
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with serving(writing(raw), context=certificates.context("good")) as host:
        error = await failure(trusting, f"https://{host}/")
    await trusting.close()
    gc.collect()
    assert error.code == code
    assert "AttributeError" not in error.message
    assert complaints == []


async def test_an_answer_over_tls_that_is_cut(trusting: HttpTransport, certificates: Certificates) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(b"{}" * 1000)[:500])
        await writer.drain()
        writer.transport.abort()

    async with serving(serve, context=certificates.context("good")) as host:
        assert (await failure(trusting, f"https://{host}/")).code == "connection"
    await trusting.close()
