"""Whatever comes to the gateway's port, for `--fuzz-seconds` each: no 5xx, no traceback in its log, nothing quoted at length,
and nothing of it is left.

`FUZZ_SEED` takes a run up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_mutants import FILLER, SECRET, form_request, frames, json_request, raw_request
from gateways import another_gateway, ask, peak_mb
from stack import Stack, until

pytestmark = [pytest.mark.slow]
CLIENTS = 6
ANSWER_S = 1.0
MAX_QUOTED = 200
MAX_GROWTH_MB = 24
"""Of the most memory that the gateway ever held: what a large body took once stays with the process, and is used again."""
LARGEST_BODY_MB = 210
"""What the largest body takes (test_gateway_bodies). In a short run it may come after the part that is not counted."""
LONG_S = 100.0
WARM_UP = 0.25
"""The part of the time after which nothing grows any more."""
SECRETS = (f":{SECRET}@".encode(), f"={SECRET}".encode())
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Fuzz:
    """One gateway under one kind of attack."""

    def __init__(self, base: str, log: Path, pid: int, seed: int):
        parts = urlsplit(base)
        self.base, self.log, self.pid = base, log, pid
        self.address = str(parts.hostname), int(parts.port or 0)
        self.seed = seed
        self.statuses: Counter[str] = Counter()
        self.complaints: list[Any] = []

    async def exchange(self, said: list[bytes], *, patience_s: float = ANSWER_S) -> bytes:
        """What comes back until the gateway has closed, or nothing more is to be expected."""
        heard = b""
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(*self.address)
            try:
                for piece in said:
                    writer.write(piece)
                    await asyncio.sleep(0)
                async with asyncio.timeout(patience_s):
                    while part := await reader.read(1 << 16):
                        heard += part
                        if complete(heard):
                            break
            finally:
                writer.transport.abort()
        return heard

    def note(self, heard: bytes, said: Any) -> None:
        status = heard[9:12].decode("latin-1") if heard.startswith(b"HTTP/1.1 ") else "none"
        self.statuses[status] += 1
        if status.startswith("5"):
            self.complaints.append((status, said, heard[:600]))
        if status.startswith("4"):
            quoted = heard.count(FILLER.encode())
            if quoted > MAX_QUOTED or any(secret in heard for secret in SECRETS):
                self.complaints.append((f"quotes {quoted}", said, heard[:3000]))

    async def run(self, one: Callable[[random.Random], Awaitable[None]], seconds: float) -> None:
        chance = random.Random(self.seed)
        idle = self.held()

        async def client(ends: float) -> None:
            while time.monotonic() < ends and not self.complaints:
                await one(random.Random(chance.random()))

        began = time.monotonic()
        await asyncio.gather(*(client(began + seconds * WARM_UP) for _ in range(CLIENTS)))
        before = idle | {"peak_mb": peak_mb(self.pid)}
        await asyncio.gather(*(client(began + seconds) for _ in range(CLIENTS)))
        print(f"SEED={self.seed} {dict(self.statuses)} {before} {self.held()}", flush=True)
        assert not self.complaints, self.complaints[0]
        log = self.log.read_text()
        for bad in ("Traceback", "unforeseen", "Exception in"):
            assert bad not in log, log[max(0, log.index(bad) - 300) :][:3000]
        growth_mb = MAX_GROWTH_MB if seconds >= LONG_S else LARGEST_BODY_MB
        until(
            lambda: self.back_to(before, growth_mb), what=f"back where it was: {before}, now {self.held()}", seconds=45
        )

    def held(self) -> dict[str, float]:
        health = ask(f"{self.base}/healthz").json
        files = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        return {"streams": health["streams"], "tasks": health["tasks"], "files": files, "peak_mb": peak_mb(self.pid)}

    def back_to(self, before: dict[str, float], growth_mb: float) -> bool:
        slack = {"streams": 0, "tasks": 4, "files": 24, "peak_mb": growth_mb}
        now = self.held()
        return all(now[name] <= before[name] + slack[name] for name in before)


def complete(heard: bytes) -> bool:
    """Whether an answer is there, as far as the fuzz looks at one."""
    head, end, body = heard.partition(b"\r\n\r\n")
    lower = head.lower()
    if not end or b" 100 " in head[:20] or b" 101 " in head[:20]:
        return False
    at = lower.find(b"content-length: ")
    if at >= 0:
        return len(body) >= int(lower[at + 16 :].split(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n") or b" 204 " in head[:20]


@pytest.fixture
def fuzz(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Fuzz]:
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(10**6))
    print(f"SEED={seed}", flush=True)
    name = request.node.name
    short = {"HEADRACE_GATEWAY_HEAD_S": "2", "HEADRACE_GATEWAY_BODY_S": "2", "HEADRACE_GATEWAY_IDLE_S": "3"}
    with another_gateway(stack, name, **short) as (base, process):
        yield Fuzz(base, stack.folder / f"{name}.log", process.pid, seed)
        assert process.poll() is None


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fuzz-seconds"))


async def test_bytes(fuzz: Fuzz, seconds: float) -> None:
    async def one(chance: random.Random) -> None:
        said = raw_request(chance)
        fuzz.note(await fuzz.exchange(said, patience_s=chance.choice([0.05, 0.3])), said)

    await fuzz.run(one, seconds)


async def test_bodies(fuzz: Fuzz, seconds: float) -> None:
    async def one(chance: random.Random) -> None:
        method, target, headers, body = json_request(chance)
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        said = ["\r\n".join([*lines, "", ""]).encode() + body]
        fuzz.note(await fuzz.exchange(said, patience_s=3.0), said[0][:6000])

    await fuzz.run(one, seconds)


async def test_forms(fuzz: Fuzz, seconds: float) -> None:
    async def one(chance: random.Random) -> None:
        said = form_request(chance)
        fuzz.note(await fuzz.exchange(said, patience_s=3.0), said)

    await fuzz.run(one, seconds)


async def test_frames(fuzz: Fuzz, seconds: float) -> None:
    async def one(chance: random.Random) -> None:
        said = [HANDSHAKE, *frames(chance)]
        heard = await fuzz.exchange(said, patience_s=chance.choice([0.02, 0.1, 0.3]))
        assert heard.startswith(b"HTTP/1.1 101") or not heard, heard[:300]
        fuzz.note(heard, said)
        quoted = heard.count(FILLER.encode())
        if quoted > MAX_QUOTED or any(secret in heard for secret in SECRETS):
            fuzz.complaints.append((f"quotes {quoted}", said, heard[:3000]))

    await fuzz.run(one, seconds)


UPGRADE = HANDSHAKE.removesuffix(b"\r\n")
TEXT = b"\x81\x81\0\0\0\0"
FOUND = {
    "a body whose framing breaks off after its head": (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "the same of a page": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "rubbish behind a last request": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\xff\xff\r\n\r\n",
    "rubbish behind a request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\xff\xff\r\n\r\n",
    "a frame that is no text": HANDSHAKE + TEXT + b"\x9d",
    "a frame that is no text after the end": HANDSHAKE + b"\x88\x80\0\0\0\0" + TEXT + b"\x9d",
    "two that are no text": HANDSHAKE + (TEXT + b"\x9d") * 2,
    "an upgrade by POST": UPGRADE.replace(b"GET", b"POST") + b"\r\n",
    "an upgrade with a body": UPGRADE + b"Content-Length: 2\r\n\r\n{}",
    "an upgrade of HTTP/1.0": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
    "an upgrade with a long line": UPGRADE + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "an upgrade with many lines": UPGRADE + b"X: a\r\n" * 300 + b"\r\n",
    "an upgrade with bytes": UPGRADE + b"X: \xff\xfe\r\nOrigin: \xff\r\nCookie: headrace_token=\xff\r\n\r\n",
    "an upgrade elsewhere": UPGRADE.replace(b"/v1/stream", b"/v1/jobs/job_x") + b"\r\n",
    "an upgrade with no path": UPGRADE.replace(b"/v1/stream", b"*") + b"\r\n",
}


async def test_survives_requests_that_a_fuzzer_found(fuzz: Fuzz) -> None:
    for name, said in FOUND.items():
        head, _, rest = said.partition(b"\r\n\r\n")
        for pieces in ([said], [head + b"\r\n\r\n", rest]):
            fuzz.note(await fuzz.exchange(pieces, patience_s=0.3), name)
        assert not fuzz.complaints
        until(lambda: ask(f"{fuzz.base}/healthz").json["streams"] == 0, what="nothing is left", seconds=10)
        assert "Traceback" not in fuzz.log.read_text(), (name, fuzz.log.read_text()[-3000:])
