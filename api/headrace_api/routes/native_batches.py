"""`/v1/native/batches`: batches as the SDK and the command line know them, for those that have no access to Redis.

OpenAI's view of batches is `/v1/batches`. Both are the same batches underneath.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.batches.create import open_new
from headrace.client.ledger_backend import TENANT
from headrace.errors import HeadraceError, InputError, Unknown
from headrace.events.reader import Viewer
from headrace.events.types import KnownBatchEvent
from headrace.jobs.job import new_id
from headrace.ledger.summaries import Batch
from headrace.spend.money import checked_budget
from headrace.storage.file_store import FileStore
from headrace_api.auth import CANCEL, EVERY_JOB, READ, SUBMIT
from headrace_api.errors import ApiError
from headrace_api.requests.batch_items import WORK, read_batch_items, read_head, received
from headrace_api.requests.chat_completions import read_object
from headrace_api.requests.file_upload import MIB
from headrace_api.requests.pages import MAX_ID_CHARS, limit_of
from headrace_api.routes.events import EventStream, NoContent, left
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.jobs import AfterQuery, StatusReceipt
from headrace_api.shapes.lists import LineQuery
from headrace_api.shapes.native import (
    BatchReceipt,
    BudgetRequest,
    LinesPage,
    NativeBatch,
    NativeBatchHead,
    NativeBatchList,
    NativeBatchQuery,
    ReaskReceipt,
    RefusalRequest,
    RetryRequest,
)
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway
from headrace_api.views import Cursor, Frame

MAX_LISTED = 10_000
MAX_REFUSED = 1000
OPEN = "x-headrace-batch"
"""The header with the id that a new batch is to have: sent again, the request opens no second one."""


def batch_id_of(given: str) -> str:
    """Return an id of a batch. Raises `Unknown` for a malformed one."""
    name = given.removeprefix("batch_")
    if name == given or len(given) > MAX_ID_CHARS or not (name.isascii() and name.isalnum()):
        raise Unknown(given[:MAX_ID_CHARS], "no id of a batch: those begin with `batch_`")
    return given


@post(
    "/v1/native/batches",
    status_code=200,
    operation=Operation(body=NativeBatchHead, body_media="application/jsonl", answer=Batch),
)
async def open_batch(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Open a batch: lines of JSON, first `{"template": {…}, "window_s": …}`, then an item each. Nothing is there before all
    lines are checked."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    batch_id = batch_id_of(request.headers.get(OPEN) or new_id("batch"))
    if batch_id in gateway.opening:
        raise ApiError(503, "interrupted", f"{batch_id} is being opened", headers={"retry-after": "1"})
    gateway.opening.add(batch_id)
    try:
        with suppress(Unknown):
            return as_json(await gateway.client.batch(batch_id))
        store, upload = await gateway.store(), f"{batch_id}/upload"
        await asyncio.to_thread(remove_of_a_cut_try, store, batch_id)
        with gateway.upload_slot():
            await received(request, store, upload, max_bytes=gateway.settings.file_mb * MIB)
            try:
                lines = store.lines(upload)
                template, window_s, work, joins = msgspec.structs.astuple(await asyncio.to_thread(read_head, lines))
                async with gateway.client.talking():
                    await gateway.client.models.check(template.model, *template.fallbacks)
                    items = read_batch_items(lines, template)
                    opened = await open_new(
                        *(gateway.client.ledger, store, template, items),
                        tenant=TENANT,
                        window_s=window_s,
                        batch_id=batch_id,
                        work=work,
                        joins=joins,
                        check_models=gateway.client.models.check,
                    )
            finally:
                await asyncio.to_thread(store.remove, upload)
        return as_json(await gateway.client.batch(opened))
    finally:
        gateway.opening.discard(batch_id)


def remove_of_a_cut_try(store: FileStore, batch_id: str) -> None:
    """Remove what a request left that was cut before its batch was there. Raises `ApiError` for the files of one that has
    ended, and is past its retention in the ledger: its results are all that is left of it."""
    if any(file.name.startswith(f"{batch_id}/output.") for file in store.files(batch_id)):
        raise ApiError(409, "conflict", f"{batch_id} is the id of a batch that has ended; choose another")
    store.remove(batch_id)


@get("/v1/native/batches", operation=Operation(query=NativeBatchQuery, answer=NativeBatchList))
async def list_batches(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """List the newest batches, newest first: `?limit=50`; with `?work=` the last one over that input, where it is known."""
    gateway.allow(request, EVERY_JOB, READ)
    if work := request.query_params.get("work"):
        if not re.match(WORK, work):
            raise InputError("work: must be the digest of a batch's input, in hexadecimal")
        known = await gateway.client.batch_of_work(work)
        return as_json({"object": "list", "data": [] if known is None else [known]})
    limit = limit_of(request.query_params, 50, MAX_LISTED)
    return as_json({"object": "list", "data": await gateway.client.batches(limit=limit)})


@get("/v1/native/batches/{batch_id:str}", operation=Operation(answer=NativeBatch))
async def show(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Return the batch, the id of the one that has its rows, and what its answers are to be."""
    gateway.allow(request, EVERY_JOB, READ)
    client, batch_id = gateway.client, batch_id_of(batch_id)
    batch = await client.batch(batch_id)
    latest, terms = await client.latest(batch_id), await client.terms(batch_id)
    return as_json(
        {
            "batch": batch,
            "latest": latest,
            "schema": terms.schema,
            "structured": terms.structured,
            "reasks": terms.reasks,
            "kept": terms.kept,
            "state_if_refused": await client.state_if_refused(batch_id),
        }
    )


@get(
    "/v1/native/batches/{batch_id:str}/events",
    media_type="text/event-stream",
    operation=Operation(query=AfterQuery, events=KnownBatchEvent, empty=204),
)
async def events(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> ASGIApp:
    """Stream its counters after `Last-Event-ID`, or after `?after=`, the `end` last."""
    gateway.allow(request, EVERY_JOB, READ)
    given = request.headers.get("last-event-id")
    cursor = Cursor.parse(given if given is not None else request.query_params.get("after"), batch_id)
    gateway.check_stream_limit()
    viewer = await gateway.client.batch_log(batch_id_of(batch_id), cursor.at)
    if viewer.ended:
        viewer.close()
        return NoContent()
    return EventStream(gateway, BatchEvents(gateway, viewer), {})


class BatchEvents:
    """The events of a batch, for an `EventStream`."""

    def __init__(self, gateway: Gateway, viewer: Viewer):
        self._gateway = gateway
        self._viewer = viewer
        self.last = ""
        self.unsent = False
        self.problem: ApiError | None = None

    def close(self) -> None:
        self._viewer.close()

    async def groups(self, gone: asyncio.Future[Any]) -> AsyncGenerator[list[Frame]]:
        """Yield groups of frames, an empty one for a heartbeat. Ends by itself, or when `gone` is done."""
        drain = asyncio.create_task(self._gateway.draining.wait())
        more: asyncio.Task[Any] | None = None
        try:
            while not (gone.done() or drain.done()):
                more = more or asyncio.create_task(self._viewer.next())
                await asyncio.wait(
                    {more, gone, drain},
                    timeout=self._gateway.settings.heartbeat_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not more.done():
                    yield []
                    continue
                try:
                    group = more.result()
                except StopAsyncIteration:
                    self.last = "end"
                    return
                more = None
                yield [Frame(str(event.id), event.data) for event in group]
        finally:
            drain.cancel()
            if more is not None:
                more.cancel()


@get(
    "/v1/native/batches/{batch_id:str}/lines",
    operation=Operation(query=LineQuery, answer=LinesPage, media="application/jsonl"),
)
async def lines(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> ASGIApp:
    """Follow its output lines from number `?after=` on, in input order: objects `{"first", "lines", "refused"}`, one a line,
    and `{"end": true}` after the last."""
    gateway.allow(request, EVERY_JOB, READ)
    given = request.query_params.get("after", "0")
    if not given.isascii() or not given.isdecimal() or len(given) > 12:
        raise InputError(f"after={given!r:.60}: must be the number of lines that are known")
    await gateway.client.batch(batch_id_of(batch_id))
    gateway.check_stream_limit()
    return LineStream(gateway, batch_id, int(given))


class LineStream:
    """The output lines of a batch as they come. It breaks off where they cannot be read on."""

    def __init__(self, gateway: Gateway, batch_id: str, given: int):
        self._gateway = gateway
        self._id = batch_id
        self._given = given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(left(receive))
        drain = asyncio.ensure_future(self._gateway.draining.wait())
        more: asyncio.Task[Any] | None = None
        pages = self._gateway.client.lines(self._id, self._given)
        head = [(b"content-type", b"application/jsonl"), (b"cache-control", b"no-store")]

        async def say(line: bytes) -> None:
            await send({"type": "http.response.body", "body": line, "more_body": True})

        try:
            with self._gateway.stream_slot():
                await send({"type": "http.response.start", "status": 200, "headers": head})
                await say(b"\n")
                while not (gone.done() or drain.done()):
                    more = more or asyncio.create_task(anext(pages, None))
                    await asyncio.wait({more, gone, drain}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
                    if not more.done():
                        await say(b"\n")
                        continue
                    page, more = more.result(), None
                    await say((b'{"end":true}' if page is None else encoded(page)) + b"\n")
                    if page is None:
                        break
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except HeadraceError:
            self._gateway.abort(scope, b"")
            await asyncio.wait({gone}, timeout=1)
        finally:
            for task in (gone, drain, more):
                if task is not None:
                    task.cancel()
            with suppress(RuntimeError):  # it is being read
                await pages.aclose()


def encoded(page: Any) -> bytes:
    numbers = range(page.first, page.first + len(page.lines))
    refused = [(number, page.refused.reason(number)) for number in numbers if number in page.refused]
    lines = [msgspec.Raw(line) for line in page.lines]
    return msgspec.json.encode({"first": page.first, "lines": lines, "refused": refused})


@post("/v1/native/batches/{batch_id:str}/cancel", status_code=200, operation=Operation(answer=StatusReceipt))
async def cancel(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Stop it: rows that are paid for are kept, the rest become error rows. A 409 after its end."""
    gateway.allow(request, EVERY_JOB, CANCEL)
    return as_json({"id": batch_id, "status": await gateway.client.cancel(batch_id_of(batch_id))})


@post("/v1/native/batches/{batch_id:str}/resume", status_code=200, operation=Operation(answer=StatusReceipt))
async def resume(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Let a paused batch go on."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    return as_json({"id": batch_id, "status": await gateway.client.resume(batch_id_of(batch_id))})


@post(
    "/v1/native/batches/{batch_id:str}/budget",
    status_code=200,
    operation=Operation(body=BudgetRequest, answer=StatusReceipt),
)
async def set_budget(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Set what it may cost: `{"budget": "10.00" or null}`. What it has cost counts; paused by its budget, it goes on."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    budget = await body_of(request, "budget", lambda value: value is None or isinstance(value, (str, int, float)))
    allowed = await body_of(request, "allow_unpriced", lambda value: value is None or isinstance(value, bool))
    status = await gateway.client.set_budget(
        batch_id_of(batch_id), None if budget is None else checked_budget(budget, "/budget"), allow_unpriced=allowed
    )
    return as_json({"id": batch_id, "status": status})


@post(
    "/v1/native/batches/{batch_id:str}/retry",
    status_code=200,
    operation=Operation(body=RetryRequest, body_required=False, answer=BatchReceipt),
)
async def retry(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Open a batch that keeps what succeeded in one that has ended: `{"codes": […] or null}`."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    codes = (await body_of(request, "codes", lambda value: value is None or is_list_of(value, str))) or None
    return as_json({"id": await gateway.client.retry(batch_id_of(batch_id), codes=codes)})


@post(
    "/v1/native/batches/{batch_id:str}/refusals",
    status_code=200,
    operation=Operation(body=RefusalRequest, answer=BatchReceipt),
)
async def refuse(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Record lines that the caller's type refuses: `{"rows": [[number, reason], …]}`. Idempotent."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    rows = await body_of(request, "rows", are_refusals)
    batch = await gateway.client.batch(batch_id_of(batch_id))
    for place, (number, _) in enumerate(rows):
        if number >= batch.total:
            raise InputError(
                f"/rows/{place}/0: there is no line {number}; {batch_id} has {batch.total}, counted from 0"
            )
    await gateway.client.refuse(batch_id, [(number, reason) for number, reason in rows])
    return as_json({"id": batch_id})


@post("/v1/native/batches/{batch_id:str}/reask", status_code=200, operation=Operation(answer=ReaskReceipt))
async def reask(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Open the batch that asks again for the lines of a completed one that were refused; its `id` is null when there is none
    to ask for, and its `count` 0 when somebody else had opened it."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    opened = await gateway.client.reask(batch_id_of(batch_id), None)
    return as_json({"id": opened[0] if opened else None, "count": opened[1] if opened else 0})


async def body_of(request: Request[Any, Any, Any], name: str, is_right: Callable[[Any], bool]) -> Any:
    raw = await request.body()
    value = (read_object(raw) if raw else {}).get(name)
    if not is_right(value):
        raise InputError(f"/{name}: is missing, or not of the form that this route takes")
    return value


def is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def are_refusals(value: Any) -> bool:
    return (
        is_list_of(value, list)
        and len(value) <= MAX_REFUSED
        and all(
            len(row) == 2 and type(row[0]) is int and 0 <= row[0] < 1 << 40 and isinstance(row[1], str) for row in value
        )
    )
