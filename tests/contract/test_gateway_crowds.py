"""A gateway and many viewers, slow viewers, and a gateway that stands still: what it reads, keeps in memory, and shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from bare_sockets import (
    LAST_BLOCK,
    SSE,
    WEBSOCKET,
    closing_frame,
    connected,
    events_of_sse,
    events_of_websocket,
    transcript,
)
from gateways import gateway_alone, rss_mb
from time_scaling import scaled_s

from headrace.events.ids import Event, EventId
from headrace.events.log_buffer import PAGE
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.local.valkey import EmbeddedServer

LEASE_MS = 10**9


class Log:
    """A job's log that the test writes itself, as a worker would, on a server of its own."""

    def __init__(self, ledger: Ledger, job: str, epoch: int):
        self.ledger = ledger
        self.job = job
        self.epoch = epoch
        self.text: list[str] = []
        self.seq = 1

    @classmethod
    async def begun(cls, ledger: Ledger) -> Log:
        job = await submit(ledger, new_id("job"), b'{"v":1}', queue="interactive")
        claimed = await claim(ledger, job, token="t", owner="w", queue="interactive", lease_ms=LEASE_MS)
        return cls(ledger, job, claimed.epoch)

    @property
    def tail(self) -> EventId:
        return EventId(self.epoch, self.seq)

    async def say(self, *texts: str) -> None:
        events = [json.dumps({"t": "text.delta", "c": 0, "p": 0, "d": text}).encode() for text in texts]
        await append(self.ledger, self.job, self.epoch, self.seq + 1, events)
        self.seq += len(texts)
        self.text += texts

    async def end(self) -> bytes:
        """Returns the stored result, whose text is all that was said."""
        completion = {"content": "".join(self.text), "finish_reason": "stop"}
        result = json.dumps({"completion": completion}).encode()
        event = b'{"t":"end","status":"succeeded"}'
        job, epoch, seq = self.job, self.epoch, self.seq + 1
        await finish(self.ledger, job, epoch, JobState.SUCCEEDED, seq=seq, event=event, result=result)
        self.seq += 1
        return result


@pytest.fixture
async def ledger(own_valkey: Callable[..., EmbeddedServer], namespace: str) -> AsyncIterator[Ledger]:
    # In its script an append of many events is one command, and on a socket of the file system the buffers are small.
    ledger = Ledger.at(own_valkey("--appendonly", "no").url, namespace)
    yield ledger
    await ledger.close()


@pytest.fixture
def gateway(ledger: Ledger, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    url = f"unix://{ledger.client.connection_pool.connection_kwargs['path']}"
    environment = {**os.environ, "HEADRACE_REDIS_URL": url, "HEADRACE_NAMESPACE": ledger.namespace}
    with enough_files(), gateway_alone(tmp_path, "gateway", environment) as gateway:
        yield gateway


@contextlib.contextmanager
def enough_files() -> Iterator[None]:
    """For a thousand viewers here, and as many in the process that is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def warm(base: str, ledger: Ledger) -> None:
    """What a gateway's first viewers cost once is not what one more of them costs."""
    log = await Log.begun(ledger)
    await log.say("a")
    await log.end()
    for request in (SSE, WEBSOCKET):
        await all_of(await connected(base, request, log.job))


async def all_of(connection: socket.socket) -> bytes:
    """What comes until the gateway has said all, at full speed."""
    loop = asyncio.get_running_loop()
    parts = []
    with connection:
        while part := await loop.sock_recv(connection, 1 << 20):
            parts.append(part)
            if part.endswith(LAST_BLOCK) or closing_frame(part):
                break
    return b"".join(parts)


class Joiner(asyncio.Protocol):
    """One of a thousand: asks at once, keeps what comes, and knows when it has seen the `tail` of the moment it came."""

    def __init__(self, log: Log, after: EventId, host: str):
        self._log = log
        self._host = host
        self.after = after
        self.raw = bytearray()
        self.to_tail_s = 0.0
        self.at_tail = asyncio.Event()
        self.whole = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._began_s = time.monotonic()
        self._tail = b"id: %s\n" % str(self._log.tail).encode()
        transport.write(SSE.format(job=self._log.job, after=self.after, host=self._host).encode())

    def data_received(self, data: bytes) -> None:
        seen = max(0, len(self.raw) - len(self._tail))
        self.raw += data
        if not self.at_tail.is_set() and self.raw.find(self._tail, seen) >= 0:
            self.to_tail_s = time.monotonic() - self._began_s
            self.at_tail.set()
        if data.endswith(LAST_BLOCK):
            self.whole.set()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.whole.set()


JOINERS, CATCHING_UP = 1000, 100
WORDS = 800


async def test_a_thousand_join_a_running_job_late(ledger: Ledger, gateway: tuple[str, subprocess.Popen[bytes]]) -> None:
    base, process = gateway
    host, _, port = base.removeprefix("http://").partition(":")
    await warm(base, ledger)
    log = await Log.begun(ledger)
    for n in range(0, WORDS, 100):
        await log.say(*(f"w{n + each} " for each in range(100)))
    before_mb = rss_mb(process.pid)
    await ledger.client.config_resetstat()
    enough = asyncio.Event()
    writing = asyncio.create_task(go_on(log, enough))
    joiners: list[Joiner] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(scaled_s(60)):
        for n in range(JOINERS):
            joiner = Joiner(log, EventId(log.epoch, n * WORDS // JOINERS), f"{host}:{port}")
            joiners.append(joiner)
            await loop.create_connection(lambda joiner=joiner: joiner, host, int(port))
            if n >= CATCHING_UP:  # more at once would measure this machine's other work
                await joiners[n - CATCHING_UP].at_tail.wait()
        await asyncio.gather(*(joiner.at_tail.wait() for joiner in joiners))
        grown_mb = rss_mb(process.pid) - before_mb
        reads = (await ledger.client.info("commandstats"))["cmdstat_xrange"]["calls"]
        enough.set()
        await writing
        result = await log.end()
        await asyncio.gather(*(joiner.whole.wait() for joiner in joiners))
    pages = log.seq // PAGE + 1
    times_s = sorted(joiner.to_tail_s for joiner in joiners)
    print(
        f"{JOINERS} joiners: XRANGE {reads} (one room, {pages} pages), time to tail p50 {times_s[JOINERS // 2]:.3f} s, "
        f"p99 {times_s[JOINERS * 99 // 100]:.3f} s, gateway +{grown_mb:.1f} MiB"
    )
    whole = await canonical(ledger, log, result)
    for joiner in joiners:
        assert events_of_sse(bytes(joiner.raw)) == whole[joiner.after.seq :], f"after {joiner.after}"
    assert reads <= pages + 10
    assert grown_mb < 1 + JOINERS * 64 / 1024


async def go_on(log: Log, enough: asyncio.Event) -> None:
    """A few words a second, until it is `enough`."""
    while not enough.is_set():
        await log.say(f"w{log.seq} ")
        await asyncio.sleep(0.2)


async def canonical(ledger: Ledger, log: Log, result: bytes) -> list[Event]:
    """The log as the Stream has it, checked once: what equals it, or a tail of it, holds U1 to U5."""
    events = await written(ledger, log)
    transcript(events).check(result)
    return events


async def written(ledger: Ledger, log: Log) -> list[Event]:
    entries = await ledger.client.xrange(f"{ledger.keys.job(log.job)}:log")
    return [Event(EventId.parse(id.decode()), fields[b"d"]) for id, fields in entries]


STEP, STEPS = 1024, 400


async def test_slow_readers_cost_no_memory_and_miss_nothing(
    ledger: Ledger, gateway: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """5 MB go by while six viewers take a kilobyte at a time; in the end they have read all of it."""
    base, process = gateway
    await warm(base, ledger)
    log = await Log.begun(ledger)
    slow = [await connected(base, request, log.job, window=4096) for request in (SSE, WEBSOCKET) * 3]
    before_mb, most_mb = rss_mb(process.pid), 0.0
    loop = asyncio.get_running_loop()
    taken = [bytearray() for _ in slow]
    async with asyncio.timeout(scaled_s(60)):
        for n in range(STEPS):
            await log.say(*(f"{n}.{each} {'x' * 1000}" for each in range(13)))
            for connection, seen in zip(slow, taken, strict=True):
                seen += await loop.sock_recv(connection, STEP)
            most_mb = max(most_mb, rss_mb(process.pid))
            await asyncio.sleep(0.005)
        result = await log.end()
        assert sum(map(len, log.text)) > 5_000_000
        assert all(len(seen) <= STEP * STEPS for seen in taken), "they are far behind"
        for connection, seen in zip(slow, taken, strict=True):
            seen += await all_of(connection)
    most_mb = max(most_mb, rss_mb(process.pid))
    print(f"5 MB past six slow viewers: gateway {most_mb - before_mb:+.1f} MiB")
    assert most_mb - before_mb < 10
    whole = await canonical(ledger, log, result)
    for raw in taken[::2]:
        assert events_of_sse(bytes(raw)) == whole
    for raw in taken[1::2]:
        seen, code = events_of_websocket(bytes(raw))
        assert code == 1000
        assert transcript(seen).check(result).message["content"] == "".join(log.text)


async def test_a_gateway_that_stood_still_is_cut_off_and_catches_up(
    ledger: Ledger, gateway: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """Its loop is blocked, the server drops its subscriber, and its viewers see all the same."""
    base, process = gateway
    await ledger.client.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
    log = await Log.begun(ledger)
    await log.say("before")
    viewers = [await connected(base, request, log.job) for request in (SSE, WEBSOCKET)]
    begun = [await shown(viewer, b"before") for viewer in viewers]
    await subscribed(ledger, log)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        for n in range(120):
            await log.say(*(f"{n}.{each} {'x' * 1000}" for each in range(20)))
        kicked = (await ledger.client.info("stats"))["client_output_buffer_limit_disconnections"]
    finally:
        os.kill(process.pid, signal.SIGCONT)
    await log.say("after")
    await subscribed(ledger, log)
    result = await log.end()
    async with asyncio.timeout(20):
        sse, websocket = await asyncio.gather(*map(all_of, viewers))
    assert kicked > 0
    assert events_of_sse(begun[0] + sse) == await canonical(ledger, log, result)
    transcript(events_of_websocket(begun[1] + websocket)[0]).check(result)


async def shown(viewer: socket.socket, text: bytes) -> bytes:
    """What came until `text` was in it."""
    raw = b""
    async with asyncio.timeout(10):
        while text not in raw:
            raw += await asyncio.get_running_loop().sock_recv(viewer, 1 << 16)
    return raw


async def subscribed(ledger: Ledger, log: Log) -> None:
    """Wait until the gateway listens."""
    channel = f"{ledger.keys.job(log.job)}:ch"
    async with asyncio.timeout(10):
        while (await ledger.client.pubsub_numsub(channel))[0][1] == 0:
            await asyncio.sleep(0.01)


async def test_tells_slow_readers_of_trimmed_events(
    ledger: Ledger, gateway: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """They have fallen behind what the gateway keeps; what they miss is gone, and never passed over in silence."""
    base, _ = gateway
    log = await Log.begun(ledger)
    slow = [await connected(base, request, log.job, window=4096) for request in (SSE, WEBSOCKET)]
    begun = [await shown(viewer, b"attempt.start") for viewer in slow]
    for n in range(400):
        await log.say(*(f"{n}.{each} {'x' * 2000}" for each in range(20)))
    whole = {event.id: event.data for event in await written(ledger, log)}
    first = EventId(log.epoch, log.seq - 50)
    await ledger.client.xtrim(f"{ledger.keys.job(log.job)}:log", minid=str(first), approximate=False)
    await log.end()
    async with asyncio.timeout(20):
        sse, websocket = [
            some + rest for some, rest in zip(begun, await asyncio.gather(*map(all_of, slow)), strict=True)
        ]
    frames, code = events_of_websocket(websocket)
    assert code == 4410
    for raw, events in ((sse, events_of_sse(sse)), (websocket, frames)):
        assert [event.id for event in events] == [EventId(log.epoch, seq + 1) for seq in range(len(events))]
        assert events[-1].id < first
        assert all(json.loads(event.data) == json.loads(whole[event.id]) for event in events)
        gap = raw.rpartition(b'"t":"gap"')[2]
        assert b'"first":"%s"' % str(first).encode() in gap
        assert f'"result":"/v1/jobs/{log.job}"'.encode() in gap
        assert b'"t":"end"' not in raw
    connection = await connected(base, WEBSOCKET, log.job, after=EventId(log.epoch, 5))
    assert events_of_websocket(await all_of(connection)) == ([], 4410)
