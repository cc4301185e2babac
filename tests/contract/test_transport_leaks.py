"""Calls that go wrong, many of each kind: afterwards descriptors, tasks and memory are what they were before.

Twenty of each in `make test`; `TRANSPORT_CALLS=10000` makes so many, as `make soak` does.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from certificates import Certificates
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.tls import tls_context
from headrace_providers.wire.transport import Transport
from http_faults import FAULTS, MAX_BYTES, ODD_BUT_READ, Serve, answer, ask, request_of, serving, short, writing

from headrace.errors import CallError

CALLS = int(os.environ.get("TRANSPORT_CALLS", "20"))
AT_ONCE = 10
MAX_OBJECTS = 300
"""Objects more than before that caches and the machine's own business may account for; a call that is left behind has more
than fifty."""
MAX_MB = 24
SOAK = 1000
"""Calls from which on the memory of the process is measured, too."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc"),
]


async def closing_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    writer.write(answer())  # and says nothing of the end that follows


async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(status=b"503 No"))


async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer())
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def unending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"n":1}\n\n')
    await reader.read()


async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Writes a second answer a little later."""
    await request_of(reader)
    writer.write(answer())
    await asyncio.sleep(0.001)
    writer.write(answer())


class Case(NamedTuple):
    """A server and how it is called. `code`: what every call ends with, None for an answer, "any" where it depends on when the
    connection is found closed; `cancelled_s`: it is cancelled after so long."""

    serve: Serve
    code: str | None
    url: str = "http://{}/"
    certificate: str | None = None
    size: int = 0
    limits: dict[str, float] = {}  # noqa: RUF012 (nobody writes to it)
    cancelled_s: float | None = None


CASES: dict[str, Case] = {
    **{name: Case(writing(raw), code) for name, (raw, code) in FAULTS.items()},
    **{name: Case(writing(raw), "any") for name, raw in ODD_BUT_READ.items()},
    "idle connections that are closed at once": Case(closing_at_once, "any"),
    "an answer before the request": Case(hasty, "any"),
    "an answer before the request is sent in full": Case(early, None, size=1_000_000),
    "a second answer that nobody asked for": Case(talkative, "any"),
    "nobody listens": Case(silent, "connection", "http://127.0.0.1:1/"),
    "an address that nobody can call": Case(silent, "connection", "http://127.1:1/"),
    "no answer in time": Case(silent, "timeout", limits={"total_s": 0.02}),
    "cancelled before the answer": Case(silent, None, cancelled_s=0.005),
    "cancelled within a stream": Case(unending, None, cancelled_s=0.005),
    "a handshake that hangs": Case(silent, "timeout", "https://{}/", limits={"connect_s": 0.02}),
    "cancelled within a handshake": Case(silent, None, "https://{}/", cancelled_s=0.005),
    "HTTP where TLS is expected": Case(hasty, "connection", "https://{}/"),
    "a certificate that nobody signed": Case(silent, "connection", "https://{}/", "self-signed"),
    "a certificate that has expired": Case(silent, "connection", "https://{}/", "expired"),
    "a certificate of another host": Case(silent, "connection", "https://{}/", "another's"),
}


def answering_connect(answer: bytes, then: bytes = b"") -> Serve:
    """A proxy that answers so; `then`: what is at the other end of its tunnel."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if then:
            await reader.read(1)
            writer.write(then)
        await reader.read()

    return serve


PROXIES: dict[str, Case] = {
    "a proxy that hangs": Case(silent, "timeout", limits={"connect_s": 0.02}),
    "a proxy that wants to know who": Case(answering_connect(answer(b"", status=b"407 Who")), "connection"),
    "a proxy that closes": Case(answering_connect(b""), "timeout", limits={"connect_s": 0.02}),
    "a proxy that speaks something else": Case(answering_connect(b"NOPE\r\n\r\n"), "connection"),
    "a tunnel to nowhere": Case(answering_connect(b"HTTP/1.1 200 Yes\r\n\r\n"), "timeout", limits={"connect_s": 0.02}),
    "a tunnel without TLS at its end": Case(answering_connect(b"HTTP/1.1 200 Yes\r\n\r\n", b"NOPE" * 9), "connection"),
    "cancelled while a proxy hangs": Case(silent, None, cancelled_s=0.005),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def believed(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    monkeypatch.setenv("HEADRACE_TRUST_ENV", "1")
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """What is there already is not counted, and not gone through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", CASES)
async def test_calls_that_go_wrong_leave_nothing(name: str, each_transport: None, certificates: Certificates) -> None:
    case = CASES[name]
    context = certificates.context(case.certificate) if case.certificate else None
    transport = transport_of()(deadlines=short(**case.limits), most_bytes=MAX_BYTES)
    async with serving(case.serve, context=context) as host, closing(transport):
        await check(case, transport, case.url.format(host))


@pytest.mark.parametrize("name", PROXIES)
async def test_calls_through_a_proxy_that_go_wrong_leave_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = PROXIES[name]
    async with serving(case.serve) as host:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{host}")
        async with closing(HttpTransport(deadlines=short(**case.limits), trust_env=True)) as transport:
            await check(case, transport, "https://provider.invalid/")


@asynccontextmanager
async def closing(transport: Transport) -> AsyncIterator[Transport]:
    try:
        yield transport
    finally:
        await transport.close()


async def check(case: Case, transport: Transport, url: str) -> None:
    async def call(n: int) -> str | None:
        streams = case.serve is unending or n % 2 == 1
        try:
            async with asyncio.timeout(case.cancelled_s):
                await ask(transport, url, stream=streams, size=case.size)
        except CallError as error:
            return error.code
        except TimeoutError:
            return None
        return None

    await calls(call, max(AT_ONCE, CALLS // 10))  # what is made once is there
    before = await held()
    codes = await calls(call, CALLS)
    after = await held(until=before)
    if case.code != "any":
        expected = {case.code} | ({None} if case.code == "provider_error" else set())  # a stream without an event
        assert codes <= expected
    else:
        assert codes <= {None, "connection", "provider_unavailable"}
    assert after.files <= before.files
    assert after.tasks <= before.tasks
    assert after.objects <= before.objects + MAX_OBJECTS
    if CALLS >= SOAK:
        assert after.mb <= before.mb + MAX_MB


async def calls(call: Callable[[int], Awaitable[str | None]], number: int) -> set[str | None]:
    """Make `number` calls, `AT_ONCE` at a time; return how they ended."""
    ends: set[str | None] = set()
    for first in range(0, number, AT_ONCE):
        ends |= set(await asyncio.gather(*(call(n) for n in range(first, min(first + AT_ONCE, number)))))
    return ends


class Held(NamedTuple):
    files: int
    tasks: int
    objects: int
    mb: float


async def held(until: Held | None = None) -> Held:
    """What this process holds, once the servers have closed their side, too; `until`: once it is no more than that."""
    async with asyncio.timeout(20):
        seen = here()
        while True:
            await asyncio.sleep(0.05)
            now = here()
            if now[:2] == seen[:2] and (until is None or now.files <= until.files):
                break
            seen = now
    gc.collect()
    return here()


def here() -> Held:
    files = len(os.listdir("/proc/self/fd"))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(files, len(asyncio.all_tasks()), len(gc.get_objects()), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
