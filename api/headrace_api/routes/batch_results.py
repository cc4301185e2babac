"""`GET /v1/batches/{id}/results`: a batch's output as JSON lines, in input order, each as soon as all before it are there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request, get
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.batches.outputs.openai_lines import openai_line, requests_of
from headrace.batches.outputs.results import ResultsPage
from headrace.batches.request_lines import RESPONSES
from headrace.errors import InputError
from headrace.ledger.batch_record import BatchRecord
from headrace.ledger.damage import readable
from headrace.ledger.state import BatchState
from headrace.storage.file_store import FileStore
from headrace_api.auth import EVERY_JOB, READ
from headrace_api.errors import ApiError
from headrace_api.routes.batches import created_batch
from headrace_api.routes.events import left
from headrace_api.shapes.batches import BatchLine
from headrace_api.shapes.lists import LineQuery
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway
from headrace_api.streaming.inactivity_timer import InactivityTimer

NDJSON = "application/x-ndjson"
BLANK = b"\n"
"""Keeps a connection open on which nothing comes: an empty line is no line."""


@get(
    "/v1/batches/{batch_id:str}/results",
    media_type=NDJSON,
    operation=Operation(query=LineQuery, answer=BatchLine, media=NDJSON),
)
async def results(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> ASGIApp:
    """Send the lines of its output and of its errors together, from number `after` on, until the batch has ended; 409 for one
    whose input was refused."""
    gateway.allow(request, EVERY_JOB, READ)
    text = request.query_params.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"after={text[:40]!r}: must be the number of lines that have been read")
    if await has_failed(gateway, batch_id):
        message = f"{batch_id} has failed and has no results; its `errors` say why: GET /v1/batches/{batch_id}"
        raise ApiError(409, "batch_failed", message)
    gateway.check_stream_limit()
    return ResultStream(gateway, batch_id, int(text))


async def has_failed(gateway: Gateway, batch_id: str) -> bool:
    """Return True if none of its lines will ever run: its input was refused."""
    record = await created_batch(gateway, batch_id)
    with readable(batch_id):
        return record.state == BatchState.FAILED


class ResultStream:
    """An ASGI application: one response, written as the lines come. A disconnect of the client ends it, and not the batch."""

    def __init__(self, gateway: Gateway, batch_id: str, after: int):
        self._gateway = gateway
        self._id = batch_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(left(receive))
        drain = asyncio.ensure_future(self._gateway.draining.wait())
        writing = asyncio.ensure_future(self._write(scope, send))
        try:
            with self._gateway.stream_slot(), contextlib.suppress(OSError):
                await asyncio.wait({writing, gone, drain}, return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()
                elif drain.done():  # broken off, so that nobody takes it for the end
                    self._gateway.abort(scope, b"")
                    await asyncio.wait({gone}, timeout=1)
        finally:
            for task in (gone, drain, writing):
                task.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, scope: Scope, send: Send) -> None:
        headers = [(b"content-type", NDJSON.encode()), (b"x-accel-buffering", b"no")]
        loop, settings = asyncio.get_running_loop(), self._gateway.settings
        try:
            async with asyncio.timeout(None) as patience, contextlib.aclosing(self._pieces()) as pieces:
                slow = InactivityTimer(settings.slow_reader_s, lambda: patience.reschedule(loop.time()))
                try:
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    async for piece in pieces:
                        slow.start()
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                        slow.stop()
                finally:
                    slow.close()
            if await has_failed(self._gateway, self._id):  # broken off: the repeat is told so
                self._gateway.abort(scope, b"")
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._gateway.abort(scope, b"")

    async def _pieces(self) -> AsyncGenerator[bytes]:
        """Yield the lines, many at a time, and a blank one when none came for a while."""
        yield BLANK
        lines = self._lines()
        ahead = asyncio.ensure_future(anext(lines, b""))
        try:
            while True:
                await asyncio.wait({ahead}, timeout=self._gateway.settings.heartbeat_s)
                if not ahead.done():
                    yield BLANK
                    continue
                piece = ahead.result()
                if not piece:
                    return
                yield piece
                ahead = asyncio.ensure_future(anext(lines, b""))
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
            await lines.aclose()

    async def _lines(self) -> AsyncGenerator[bytes]:
        store, lines, record = await self._gateway.store(), await self._gateway.lines_of(self._id), None
        async with contextlib.aclosing(lines.pages(self._after)) as pages:
            async for page in pages:
                record = record or await created_batch(self._gateway, self._id)  # where its input lies is known by now
                yield await asyncio.to_thread(as_openai, store, record, page)


def as_openai(store: FileStore, record: BatchRecord, page: ResultsPage) -> bytes:
    """Return the lines of a page in OpenAI's form."""
    lines = page.applied()
    requests = (
        requests_of(store, record, page.first, len(lines)) if record.endpoint == RESPONSES else [None] * len(lines)
    )
    return b"".join(openai_line(line, request) + b"\n" for line, request in zip(lines, requests, strict=True))
