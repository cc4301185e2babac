"""A provider in a thread of this process that answers as a test has scripted: the first key that a prompt holds decides."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from fake_transport import as_chunks

MAX_BYTES = 16 << 20


class StubProvider:
    """`calls` counts the requests of each key, `bodies` are those of all."""

    def __init__(self, answers: dict[str, dict[str, Any]]):
        self.answers = answers
        self.calls = dict.fromkeys(answers, 0)
        self.bodies: list[dict[str, Any]] = []
        self.url = ""
        self.ready = threading.Event()
        self.over: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        prompt = json.dumps(body["messages"])
        key = next(key for key in self.answers if f"<{key}>" in prompt)
        self.calls[key] += 1
        if not body.get("stream"):
            return web.Response(body=json.dumps(self.answers[key]).encode(), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in as_chunks(self.answers[key]):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def serve(self) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self.ready.set()
        await self.over.wait()
        await runner.cleanup()


@contextmanager
def stub_provider(answers: dict[str, dict[str, Any]]) -> Iterator[StubProvider]:
    provider = StubProvider(answers)
    thread = threading.Thread(target=lambda: asyncio.run(provider.serve()))
    thread.start()
    provider.ready.wait(30)
    try:
        yield provider
    finally:
        if provider.loop is not None and provider.over is not None:
            provider.loop.call_soon_threadsafe(provider.over.set)
        thread.join(30)
