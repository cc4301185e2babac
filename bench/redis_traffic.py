"""What the service sends to its Redis for a plain chat, a streamed chunk and a bulk item. `python -m bench.run redis`.

Counts, by `redis_meter.py` and the service's real processes: the same on every machine but for the sizes of groups, which grow
with load. The tests of tests/contract/test_costs.py hold them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers import item
from bench.redis_meter import Meter, Traffic, in_thread
from bench.report.figures import Figures, Row, row
from bench.scale import scaled
from bench.service import process, valkey
from bench.streaming_stub import DONE, HEAD, START, STOP, USAGE, chunked
from bench.stub import Stub
from headrace import AsyncHeadrace
from headrace.ledger.script import FOLDER
from headrace.settings import Settings

CHATS, CHUNKS, ITEMS = 200, 200, 4000
MOVES = [path.stem for path in FOLDER.glob("*.lua")]
CHUNK_S, SETTLE_S = 0.02, 30.0
TEXT = b"data: " + START + b'"delta":{"content":"chunk %d of the answer "},"finish_reason":null}]}\n\n'


class Provider:
    """The raw stub, in this process: it counts its connections and calls. A call with `stream` gets its chunks one by one."""

    def __init__(self) -> None:
        self.connections = self.calls = 0
        self.chunks = CHUNKS
        self.url = ""

    async def serve(self) -> asyncio.Server:
        server = await asyncio.get_running_loop().create_server(lambda: CountedStub(self), "127.0.0.1", 0, backlog=4096)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        return server

    def take(self) -> tuple[int, int]:
        """Return the connections and the calls since the last time."""
        taken = self.connections, self.calls
        self.connections = self.calls = 0
        return taken


class CountedStub(Stub):
    def __init__(self, provider: Provider) -> None:
        super().__init__(0.0)
        self._provider = provider

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._provider.connections += 1

    def answer(self, body: bytes) -> None:
        self._provider.calls += 1
        if json.loads(body).get("stream"):
            assert self._transport is not None
            self._transport.write(HEAD)
            self._chunk(0)
        else:
            super().answer(body)

    def _chunk(self, number: int) -> None:
        assert self._transport is not None
        if number == self._provider.chunks:
            self._transport.write(chunked(STOP) + chunked(USAGE) + chunked(DONE) + b"0\r\n\r\n")
            return
        self._transport.write(chunked(TEXT % number))
        asyncio.get_running_loop().call_later(CHUNK_S, self._chunk, number + 1)


class Service:
    """A gateway, an interactive and a bulk worker, with a meter before their Redis."""

    def __init__(self, folder: Path, meter: Meter, provider: Provider, gateway: str):
        self._folder, self.meter, self.provider, self.gateway = folder, meter, provider, gateway

    def chats(self, count: int = CHATS) -> Traffic:
        """Ask `count` plain chats, one after the other on one connection: nothing is grouped with another one's."""
        self.meter.take()
        at = urlsplit(self.gateway)
        connection = HTTPConnection(at.hostname or "", at.port, timeout=SETTLE_S)
        try:
            for number in range(count):
                body = chat(f"Chat {number} of {next(_serial)}: what does a kettle cost?")
                connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                answer = json.loads(connection.getresponse().read())
                if not answer.get("choices"):
                    raise SystemExit(f"a chat was answered with {answer}")
            # A client that goes before its answer counts as delivered may come again for it: that is another story.
            self._settle(count)
        finally:
            connection.close()
        return self.meter.take()

    def streamed(self, chunks: int = CHUNKS) -> tuple[Traffic, int]:
        """Watch an answer of `chunks` chunks; return also how many frames came."""
        self.provider.chunks = chunks
        self.meter.take()
        frames = asyncio.run(streamed(self.gateway))
        self._settle(1)
        return self.meter.take(), frames

    def extracted(self, count: int = ITEMS) -> Traffic:
        """Run a batch of `count` items, from its intake to its end."""
        self.meter.take()
        asyncio.run(self._extract(count))
        return self.meter.take()

    def _settle(self, chats: int) -> None:
        """Wait for what follows an answer a second later: its delivery, and Celery's events."""
        deadline = time.monotonic() + SETTLE_S
        while (now := self.meter.seen()).commands["unread"] < chats or now.ended_tasks() < chats:
            if time.monotonic() > deadline:
                raise SystemExit(f"of {chats} chats {now.commands['unread']} were delivered, {now.ended_tasks()} ended")
            time.sleep(0.05)

    async def _extract(self, count: int) -> None:
        source = self._folder / "items.jsonl"
        source.write_text("".join(f'{{"id": "{number}", "number": {number}}}\n' for number in range(count)))
        settings = Settings(redis_url=self.meter.url, files=str(self._folder / "files"))
        async with AsyncHeadrace(settings=settings) as client:
            batch = await client.extract(
                source, item.PROMPT, model=f"openai/{item.MODEL}", schema=item.SCHEMA, cache=False
            )
            while not (now := await batch.progress()).ended:
                await asyncio.sleep(0.25)
        if now.succeeded != count:
            raise SystemExit(f"only {now.succeeded} of {count} items succeeded")


_serial = itertools.count()


def chat(text: str, **more: object) -> bytes:
    """The body of a chat."""
    return json.dumps({"model": "openai/stub", "messages": [{"role": "user", "content": text}], **more}).encode()


async def streamed(gateway: str) -> int:
    url = urlsplit(gateway)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    content = chat("Stream, please.", stream=True)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    data = b""
    while b"data: [DONE]" not in data:
        more = await reader.read(1 << 16)
        if not more:
            raise SystemExit(f"the stream broke off: {data[-300:]!r}")
        data += more
    writer.close()
    return data.count(b"data: {")


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A service that is warm: every script is loaded, the connections are open."""
    with ExitStack() as stack:
        server = stack.enter_context(valkey(folder / "valkey"))
        meter, provider = Meter(str(server.socket)), Provider()
        stack.enter_context(in_thread(meter.serve, provider.serve))
        environment = {
            "HEADRACE_REDIS_URL": meter.url,
            "HEADRACE_FILES": str(folder / "files"),
            "HEADRACE_DRAIN_S": "2",
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": "stub",
        }
        for role in ("interactive", "bulk"):
            stack.enter_context(process(folder / role, "headrace_worker", environment, "--role", role))
        stack.enter_context(process(folder / "gateway", "headrace_api", environment, "--port", "0"))
        running = Service(folder, meter, provider, json.loads((folder / "gateway").read_text())["url"])
        running.chats(10)
        running.streamed(10)
        running.extracted(100)
        yield running


def figures() -> Figures:
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as running:
        chats, items = scaled(CHATS, least=20), scaled(ITEMS, least=200)
        made = rows("a plain chat", running.chats(chats), chats)
        made += rows("a streamed chunk", running.streamed()[0], CHUNKS)
        made += rows("a bulk item", running.extracted(items), items)
    return Figures(made)


def rows(what: str, traffic: Traffic, count: int) -> list[Row]:
    moves = sum(traffic.commands[name] for name in MOVES)
    return [
        row(f"commands to Redis for {what}", traffic.commands.total() / count, ""),
        row(f"moves of the ledger for {what}", moves / count, "", remark="scripts: most of Redis's work"),
        row(f"round trips to Redis for {what}", traffic.round_trips / count, ""),
        row(f"bytes to Redis for {what}", traffic.bytes / count, "B"),
    ]
