"""What becomes of a connection whose call ends early, late or not at all: given up at once, and never another call's."""

from __future__ import annotations

import asyncio
import gc
import select
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from headrace_providers.transport_choice import transport_of
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.request import Request
from headrace_providers.wire.transport import Transport
from http_faults import answer, ask, chunk, failure, request_of, serving, short

from headrace.errors import CallError

LARGE = 8_000_000
"""Bytes that no pair of sockets holds between them."""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Make = Callable[..., Transport]


@pytest.fixture
async def make(each_transport: None) -> AsyncIterator[Make]:
    """Makes transports, closed at the end; nothing that went wrong behind a call's back is passed over."""
    made: list[Transport] = []
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def new(connections: int = 1000, **limits: float) -> Transport:
        made.append(transport_of()(deadlines=short(**limits), connections=connections))
        return made[-1]

    yield new
    for transport in made:
        await transport.close()
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


def is_lost(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has reset or closed the connection, though nothing is read from it."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


@pytest.mark.parametrize("late", [b'{"another":1}', b'{"error":{"message":"another"}}'])
async def test_what_nobody_asked_for_is_nobodys_answer(make: Make, late: bytes) -> None:
    """A second answer, or the 408 that a proxy writes to an idle connection, has come before the next request leaves."""
    transport, written, heads = make(), asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        await request_of(reader)
        heads += 1
        writer.write(answer())
        if heads == 1:
            await asked_once.wait()
            writer.write(answer(late, status=b"200 OK" if b"another" in late else b"408 No"))
            await writer.drain()
            written.set()
            await reader.read()

    asked_once = asyncio.Event()
    async with serving(serve) as host:
        assert await ask(transport, f"http://{host}/") == [{"n": 1}]
        asked_once.set()
        await written.wait()
        if isinstance(transport, HttpTransport):
            assert await ask(transport, f"http://{host}/") == [{"n": 1}]
        else:  # it sends nothing again
            assert (await failure(transport, f"http://{host}/")).code == "connection"
            assert await ask(transport, f"http://{host}/") == [{"n": 1}]
    assert heads == 2


class Unread:
    """A server that reads no more than the head until `go`, and `came` bytes of the body then, up to its end."""

    def __init__(self, first: bytes = b""):
        self.first, self.came = first, 0
        self.go, self.ended = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.first)
        await self.go.wait()
        try:
            while data := await reader.read(1 << 16):
                self.came += len(data)
        finally:
            self.ended.set()

    async def check(self) -> None:
        """What had not left when the call ended does not follow."""
        self.go.set()
        async with asyncio.timeout(10):
            await self.ended.wait()
        assert self.came < LARGE


@pytest.mark.parametrize("how", ["deadline", "cancelled", "closed"])
async def test_a_provider_that_reads_nothing_holds_nothing(make: Make, how: str) -> None:
    transport, server = make(total_s=0.3 if how == "deadline" else 20), Unread()
    async with serving(server.serve, limit=1024) as host:
        task = asyncio.create_task(failure(transport, f"http://{host}/", size=LARGE))
        if how == "deadline":
            assert (await task).code == "timeout"
        else:
            await asyncio.sleep(0.2)
            if how == "closed":
                await transport.close()
                assert (await task).code == "connection"
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        await server.check()


@pytest.mark.parametrize("status", [b"200 OK", b"413 No"])
async def test_an_answer_before_the_request_is_sent_in_full(make: Make, status: bytes) -> None:
    transport, server = make(), Unread(answer(status=status))
    async with serving(server.serve, limit=1024) as host:
        if status == b"200 OK":
            assert await ask(transport, f"http://{host}/", size=LARGE) == [{"n": 1}]
        else:
            assert (await failure(transport, f"http://{host}/", size=LARGE)).status == 413
        await server.check()


async def test_whoever_reads_slowly_is_told_that_the_time_is_over(make: Make) -> None:
    transport, told = make(total_s=0.3), list[object]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(STREAM + chunk(b'data: {"n":1}\n\n') * 100)
        await reader.read()

    async with serving(serve) as host:
        with pytest.raises(CallError, match=r"no answer within 0\.3 s") as raised:
            await read_slowly(transport.chunks(Request(f"http://{host}/", {}, {"stream": True})), told)
    assert (raised.value.code, 1 < len(told) < 10) == ("timeout", True)


async def read_slowly(chunks: AsyncIterator[object], told: list[object]) -> None:
    async for each in chunks:
        told.append(each)
        await asyncio.sleep(0.2)


async def test_a_stream_that_is_read_slowly_fills_no_memory(make: Make) -> None:
    transport, event = make(), chunk(b'data: {"text":"%s"}\n\n' % (b"x" * 10_000))
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await request_of(reader)
        writer.write(STREAM)
        while True:
            writer.write(event)
            await writer.drain()
            written += len(event)

    async with serving(serve) as host:
        chunks = transport.chunks(Request(f"http://{host}/", {}, {"stream": True}))
        await anext(chunks)
        before = -1
        while written > before:  # until the other side is held up
            before = written
            await asyncio.sleep(0.1)
        assert written < 16_000_000, "what the sockets hold, and little more"
        await chunks.aclose()  # type: ignore[attr-defined]


PHASES = {
    "head": b"",
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[",
    "stream": STREAM + chunk(b'data: {"n":1}\n\n'),
    "error": b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n[",
}


@pytest.mark.parametrize("phase", ["tls", *PHASES])
@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_call_that_is_ended_in_any_phase_leaves_nothing(make: Make, phase: str, how: str) -> None:
    transport, reached, ended = make(connect_s=1), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if phase == "tls":
            await reader.readexactly(1)
        else:
            await request_of(reader)
            writer.write(PHASES[phase])
        reached.set()
        while not is_lost(writer):
            await asyncio.sleep(0.01)
        ended.set()

    async with serving(serve) as host:
        url = f"{'https' if phase == 'tls' else 'http'}://{host}/"
        task = asyncio.create_task(failure(transport, url, stream=phase == "stream"))
        await reached.wait()
        await asyncio.sleep(0.05)
        if how == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await transport.close()
            async with asyncio.timeout(5):
                error = await task
            assert error.code in {"tls": {"timeout"}, "error": {"provider_unavailable"}}.get(phase, {"connection"})
        async with asyncio.timeout(5):
            await ended.wait()
    if isinstance(transport, HttpTransport) and how == "closed":
        assert transport._connections is None, "it did not connect again"


@pytest.mark.parametrize("seed", range(3))
async def test_however_calls_are_cancelled_each_gets_its_own_answer(make: Make, seed: int) -> None:
    """Two hundred calls over ten connections, some of them cancelled at any moment, by a provider that closes some."""
    transport, random = make(connections=10), Random(seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while random.random() < 0.95:
            head = await request_of(reader)
            number = head.lower().partition(b"x-number: ")[2].split(b"\r\n")[0]
            await asyncio.sleep(random.random() * 0.003)
            whole = answer(b'{"n":%s}' % number)
            if random.random() < 0.5:
                whole = STREAM + chunk(b'data: {"n":%s}\n\n' % number) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
            cut = random.randrange(len(whole))
            writer.write(whole[:cut])
            await asyncio.sleep(random.random() * 0.002)
            writer.write(whole[cut:])

    async def call(n: int) -> list[object]:
        headers = {"X-Number": str(n)}
        async with asyncio.timeout(random.choice([None, random.random() * 0.01])):
            return await ask(transport, f"http://{host}/", stream=n % 2 == 1, headers=headers)

    async with serving(serve) as host:
        for first in range(0, 200, 50):
            numbers = range(first, first + 50)
            ends = await asyncio.gather(*map(call, numbers), return_exceptions=True)
            for n, end in zip(numbers, ends, strict=True):
                if isinstance(end, list):
                    assert [chunk for chunk in end if chunk is not None] == [{"n": n}]
                else:
                    assert isinstance(end, TimeoutError) or (isinstance(end, CallError) and end.code == "connection")


async def test_who_waits_for_a_free_connection_is_told_of_the_end(make: Make) -> None:
    transport, reached = make(connections=1), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        reached.set()
        await reader.read()

    async with serving(serve) as host:
        tasks = [asyncio.create_task(failure(transport, f"http://{host}/")) for _ in range(3)]
        await reached.wait()
        await transport.close()
        assert {(await task).code for task in tasks} == {"connection"}
