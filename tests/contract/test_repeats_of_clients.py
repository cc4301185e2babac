"""The repeats that clients make by themselves, at their defaults: one call in the account, and the answer arrives."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import another_gateway
from node_clients import Node, installed
from openai import OpenAI
from stack import Stack, until

from headrace.ledger.keys import Keys

MODEL = "rehearsal/small"
CLIENTS = ("python", "openai", "ai-sdk")


@pytest.fixture(scope="module")
def packages() -> Path:
    return installed()


class Between:
    """A proxy on a port of its own, in a thread. `port` is where new connections go; none lives longer than `seconds`."""

    def __init__(self, port: int, seconds: float | None = None):
        self.port = port
        self._seconds = seconds
        self._base: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self.base = self._base.result(10)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self._base.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await self._over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        pipes = [asyncio.ensure_future(pipe(reader, back)), asyncio.ensure_future(pipe(there, writer))]
        await asyncio.wait(pipes, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in pipes:
            each.cancel()
        back.close()
        writer.close()

    def __enter__(self) -> Between:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)


def ask(packages: Path, client: str, base: str, prompt: str, timeout_s: float | None = None) -> dict[str, Any]:
    if client != "python":
        milliseconds = [str(int(timeout_s * 1000))] if timeout_s else []
        return Node(packages, "repeat.mjs", base, MODEL, prompt, client, *milliseconds).result()
    tries: list[httpx.Request] = []
    options: dict[str, Any] = {"timeout": timeout_s} if timeout_s else {}
    with (
        httpx.Client(event_hooks={"request": [tries.append]}) as http,
        OpenAI(base_url=f"{base}/v1", api_key="none", http_client=http, **options) as asking,
    ):
        answer = asking.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
    return {"tries": len(tries), "text": answer.choices[0].message.content, "error": None}


@pytest.mark.parametrize("client", ["python", "openai"])
def test_a_timeout_of_1_5_s_on_an_answer_of_4_s(stack: Stack, base: str, packages: Path, client: str) -> None:
    before = len(stack.calls())
    told = ask(packages, client, base, f"[[rehearsal latency=4000]] Who waits, {client}?", 1.5)
    assert told["error"] is None
    assert told["text"]
    assert told["tries"] > 1
    assert len(stack.calls()) - before == 1


def test_a_proxy_that_cuts_after_20_s_an_answer_of_25_s(stack: Stack, base: str, packages: Path) -> None:
    before = len(stack.calls())
    with (
        Between(int(base.rpartition(":")[2]), 20.0) as between,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        asking = {
            client: pool.submit(
                ask, packages, client, between.base, f"[[rehearsal latency=25000]] Who is cut, {client}?"
            )
            for client in CLIENTS
        }
        told = {client: each.result() for client, each in asking.items()}
    assert [client for client, each in told.items() if each["error"] or not each["text"]] == [], told
    assert all(each["tries"] > 1 for each in told.values()), told
    assert len(stack.calls()) - before == len(CLIENTS)


def test_a_gateway_that_died_is_known_at_once(stack: Stack) -> None:
    """A repeat without a mark, as soon as the connection breaks, at another gateway."""
    before = len(stack.calls())
    asked = {
        "model": "rehearsal/small",
        "messages": [{"role": "user", "content": "[[rehearsal latency=5000]] At once?"}],
    }
    watched = Keys(stack.ready["namespace"]).gateway("*")
    with (
        another_gateway(stack, "dying") as (first, process),
        another_gateway(stack, "living") as (second, _),
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        until(
            lambda: all(stack.client.get(key) == b"watched" for key in stack.client.scan_iter(watched)),
            what="the gateways' subscriptions are known",
        )
        asking = pool.submit(httpx.post, f"{first}/v1/chat/completions", json=asked, timeout=30)
        until(lambda: len(stack.calls()) - before == 1, what="it was put to the provider")
        os.kill(process.pid, signal.SIGKILL)
        assert isinstance(asking.exception(), httpx.TransportError)
        answer = httpx.post(f"{second}/v1/chat/completions", json=asked, timeout=30)
    assert answer.status_code == 200
    assert len(stack.calls()) - before == 1


@pytest.mark.parametrize("after_s", [1.0, 12.0], ids=["early", "late"])
def test_a_gateway_killed_in_the_middle_of_an_answer(stack: Stack, packages: Path, after_s: float) -> None:
    """Another one takes its place at once, as behind a balancer."""
    before = len(stack.calls())
    with contextlib.ExitStack() as stay, concurrent.futures.ThreadPoolExecutor() as pool:
        first, process = stay.enter_context(another_gateway(stack, f"killed-{after_s}"))
        other, _ = stay.enter_context(another_gateway(stack, f"next-{after_s}"))
        between = stay.enter_context(Between(int(first.rpartition(":")[2])))
        prompt = f"[[rehearsal latency={int(1000 * after_s) + 6000}]] Who is killed"
        asking = {
            client: pool.submit(ask, packages, client, between.base, f"{prompt}, {client}?") for client in CLIENTS
        }
        until(lambda: len(stack.calls()) - before == len(CLIENTS), what="all were put to the provider")
        threading.Event().wait(after_s)
        between.port = int(other.rpartition(":")[2])
        os.kill(process.pid, signal.SIGKILL)
        told = {client: each.result() for client, each in asking.items()}
    assert [client for client, each in told.items() if each["error"] or not each["text"]] == [], told
    assert len(stack.calls()) - before == len(CLIENTS)
