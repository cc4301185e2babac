"""What a transport makes of a connection that breaks HTTP, over real sockets: a `CallError` with the code of the fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire import error_answer, exchange
from headrace_providers.wire.transport import Transport
from http_faults import FAULTS, MAX_BYTES, ODD_BUT_READ, answer, ask, failure, request_of, serving, short, writing

from headrace.errors import CallError

WITHOUT_EVENTS = {"no content", "chunks of gzip"}


@pytest.fixture
async def transport(each_transport: None) -> AsyncIterator[Transport]:
    made = transport_of()(deadlines=short(connect_s=0.5), most_bytes=MAX_BYTES)
    yield made
    await made.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_http_is_a_typed_error(transport: Transport, fault: str, stream: bool) -> None:
    raw, code = FAULTS[fault]
    if stream and fault in WITHOUT_EVENTS:
        pytest.skip("a stream without an event is told from an answer by who reads the chunks")
    async with serving(writing(raw)) as host:
        with pytest.raises(CallError) as raised:
            await ask(transport, f"http://{host}/", stream=stream)
    assert raised.value.code == code
    assert raised.value.__cause__ is None, "what the library says may show the request"


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("odd", ODD_BUT_READ)
async def test_what_is_odd_is_read_all_the_same(transport: Transport, odd: str, apart: bool) -> None:
    raw = ODD_BUT_READ[odd]
    if apart and len(raw) > 1000:
        pytest.skip("many bytes")
    for stream in (False, True):
        async with serving(writing(raw, apart=apart)) as host:
            chunks = await ask(transport, f"http://{host}/", stream=stream)
            assert [chunk for chunk in chunks if chunk is not None] == [{"n": 1}]


async def test_an_error_whose_body_does_not_come_is_an_error_in_time(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_answer, "ERROR_BODY_S", 0.1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 200\r\n\r\n{")
        await reader.read()

    async with serving(serve) as host:
        error = await failure(transport, f"http://{host}/")
    assert (error.code, error.status, error.retry_after_s) == ("rate_limited", 429, 7)


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        (b"text/plain; charset=latin-1", "f\xfcr"),
        (b'text/plain; charset="utf-16-le"', "fr"),
        (b"text/plain; charset=\xff", "f\N{REPLACEMENT CHARACTER}r"),
        *(
            (b"text/plain; charset=" + codec, "f\N{REPLACEMENT CHARACTER}r")
            for codec in (b"hex", b"idna", b"punycode", b"unicode_escape", b"raw-unicode-escape", b"undefined")
        ),
        (
            b'text/plain; a="' + b";" * 30_000 + b'"; charset=latin-1',
            "f\N{REPLACEMENT CHARACTER}r",
        ),  # not searched for so far
    ],
)
async def test_the_charset_of_an_error(transport: Transport, content_type: bytes, text: str) -> None:
    body = text.encode("utf-16-le") if text == "fr" else b"f\xfcr"
    raw = answer(body, b"Content-Type: " + content_type + b"\r\n", b"400 No")
    async with serving(writing(raw)) as host:
        assert (await failure(transport, f"http://{host}/")).message == f"the provider answered 400: {text}"


async def test_the_first_of_two_retry_hints_counts(transport: Transport) -> None:
    raw = answer(b"{}", b"Retry-After: 7\r\nRetry-After: 9\r\n", b"429 No")
    async with serving(writing(raw)) as host:
        assert (await failure(transport, f"http://{host}/")).retry_after_s == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (b"Retry-After: 7\r\n", 7),
        (b"retry-after: 1.5\r\n", 1.5),
        (b"Retry-After: 1m2s\r\n", 62),
        (b"Retry-After: 7\r\nRetry-After-Ms: 250\r\n", 0.25),
        (b"Retry-After: Thu, 01 Jan 2099 00:00:00 GMT\r\n", 3600),
        (b"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", None),
        (b"Retry-After: -1\r\n", None),
        (b"Retry-After: soon\r\n", None),
        (b"Retry-After: \xff\r\n", None),
        (b"Retry-After: \r\n", None),
        (b"Retry-After: 1e400\r\n", None),
        (b"X-RateLimit-Reset-Requests: 2s\r\nX-RateLimit-Remaining-Requests: 0\r\n", 2),
    ],
)
async def test_a_retry_hint_in_all_its_forms(transport: Transport, headers: bytes, seconds: float | None) -> None:
    async with serving(writing(answer(b"{}", headers, b"429 No"))) as host:
        error = await failure(transport, f"http://{host}/")
    assert (error.code, error.retry_after_s) == ("rate_limited", seconds)


async def test_cookies_are_neither_kept_nor_sent(transport: Transport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await request_of(reader)).lower())
            writer.write(answer(headers=b"Set-Cookie: session=another; Path=/\r\nSet-Cookie: \xff=1\r\n"))

    async with serving(serve) as host:
        for _ in range(2):
            assert await ask(transport, f"http://{host}/") == [{"n": 1}]
    assert len(heads) == 2
    assert not any(b"cookie:" in head for head in heads)


async def test_a_header_that_is_set_in_other_letters_is_sent_once(transport: Transport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await request_of(reader)).lower())
        writer.write(answer())

    own = {"content-type": "text/x", "accept-encoding": "br", "accept": "x/y", "user-agent": "me", "authorization": "k"}
    async with serving(serve) as host:
        await ask(transport, f"http://{host}/", headers=own)
    (head,) = heads
    assert [head.count(b"\r\n%s:" % name.encode()) for name in own] == [1] * len(own)
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert b"\r\naccept-encoding: identity\r\n" in head
    assert b"\r\nuser-agent: me\r\n" in head


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


@pytest.mark.parametrize("address", ["user:hunter2@127.0.0.1:9", "127.0.0.1:99999", "127.1:9", "[::1", "a..b"])
async def test_an_address_that_nobody_can_call(transport: Transport, address: str) -> None:
    error = await failure(transport, f"http://{address}/v1?api_key=hunter2")
    assert (error.code, error.details) == ("connection", {"unreachable": True})
    assert "the provider's address" in error.message
    assert "hunter2" not in error.message


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


async def test_a_name_that_is_looked_up_for_too_long(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = asyncio.Event()

    async def lookup(*_: object, **__: object) -> None:
        await waiting.wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    error = await failure(transport, "http://slow.example/")
    assert (error.code, error.message) == ("timeout", "no connection within 0.5 s")
    waiting.set()


async def test_a_name_that_moves_is_followed(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that stands is used; a new one goes to where the name leads now."""
    monkeypatch.setattr(exchange, "DNS_TTL_S", 0)
    hosts = iter(["127.0.0.1", "127.0.0.2"])

    async def lookup(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert name == "moving.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(hosts), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    came: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        came.append(writer.get_extra_info("sockname")[0])
        writer.write(answer(headers=b"Connection: close\r\n"))

    async with serving(serve, "0.0.0.0") as host:
        for _ in range(2):
            await ask(transport, f"http://moving.example:{host.rpartition(':')[2]}/")
    assert came[0] == "127.0.0.1"
    if type(transport).__name__ == "HttpTransport":  # the SDK's keeps a name for ten seconds
        assert came[1] == "127.0.0.2"


@pytest.mark.parametrize("host", ["[::1]", "six.example"])
async def test_ipv6(transport: Transport, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("needs IPv6")

    async def lookup(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    async with serving(writing(answer()), "::1") as address:
        assert await ask(transport, f"http://{host}:{address.rpartition(':')[2]}/") == [{"n": 1}]
