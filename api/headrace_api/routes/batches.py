"""`/v1/batches`: create, show, list, cancel and retry batches over uploaded files, as OpenAI's clients know them."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from headrace.batches.create import budget_fields, open_retry
from headrace.batches.ingest import UPLOAD
from headrace.batches.request_lines import LineError
from headrace.chat.model_aliases import model_aliases
from headrace.client.ledger_backend import TENANT
from headrace.errors import InputError, StorageError, Unknown
from headrace.instruments.trace_context import current_traceparent
from headrace.jobs.job import new_id
from headrace.ledger.batch_list import created_batches
from headrace.ledger.batch_record import BatchRecord, known_batch
from headrace.ledger.cancel import cancel as cancel_batch
from headrace.ledger.create_batch import create_batch
from headrace.ledger.damage import readable
from headrace.ledger.file_record import FileRecord
from headrace.ledger.queues import BULK
from headrace.ledger.script import UNAVAILABLE, Argument
from headrace.ledger.state import BatchState
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNREADABLE
from headrace_api.auth import CANCEL, EVERY_JOB, READ, SUBMIT
from headrace_api.batch_object import batch_object
from headrace_api.error_quoting import shorten_quotes
from headrace_api.errors import ApiError
from headrace_api.requests.batches import BatchRequest, read_batch_request
from headrace_api.requests.chat_completions import read_object, sized
from headrace_api.requests.creations import creation_of
from headrace_api.requests.file_upload import in_writer
from headrace_api.requests.pages import MAX_ID_CHARS, after_is_named, limit_of, page_of
from headrace_api.routes.files import BATCH, known_file
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.batches import BatchCreate, BatchObject, BatchPage, BatchQuery, BatchRetry
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway

DEFAULT_LISTED, MAX_LISTED = 20, 100


@post("/v1/batches", status_code=200, operation=Operation(body=BatchCreate, answer=BatchObject))
async def create(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Create a batch over an uploaded file. Its lines are checked after the answer, before any of them runs."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    asked = await sized(len(raw), read_batch_request, await sized(len(raw), read_object, raw))
    file = await input_file_of(gateway, asked.input_file)
    store = await gateway.store()
    batch_id = new_id("batch")
    digest = sha256(raw).hexdigest()
    async with gateway.client.talking(), creation_of(gateway, request, digest, batch_id) as creating:
        if asked.template.model:
            await gateway.client.models.check(asked.template.model, *asked.template.fallbacks)
        try:
            record = await in_writer(lambda: prepared(store, batch_id, file, asked))
        except StorageError:
            raise Unknown(file.id, "its content is gone") from None
        sha, template = asked.template.encoded()
        known = await creating.make(
            lambda creation: create_batch(
                gateway.client.ledger,
                batch_id,
                template_sha=sha,
                template=template,
                window_ms=asked.window_ms,
                tenant=TENANT,
                creation=creation,
                record=record | {"template": sha} | ({"trace": trace} if (trace := current_traceparent()) else {}),
            )
        )
        if known != batch_id:  # an equal request was here before
            await in_writer(lambda: store.remove(batch_id))
        else:
            with contextlib.suppress(*UNAVAILABLE):  # created all the same: its check is due again
                await gateway.client.hints.publish(gateway.client.ledger, [(BULK, f"{batch_id}.check")])
    return as_json(await shown(gateway, known))


async def input_file_of(gateway: Gateway, file_id: str) -> FileRecord:
    """Return the file of a batch's lines. Raises `ApiError` for one that is not there, or has another purpose."""
    try:
        file = await known_file(gateway, file_id)
    except Unknown as error:
        raise ApiError(404, "not_found", shorten_quotes(str(error)), param="input_file_id") from None
    if file.purpose != BATCH:
        raise ApiError(
            400,
            "invalid_request",
            f"{file.id} was uploaded as {file.purpose}; the input of a batch is uploaded with purpose 'batch'",
            param="input_file_id",
        )
    return file


def prepared(store: FileStore, batch_id: str, file: FileRecord, asked: BatchRequest) -> dict[str, Argument]:
    """Put what the check needs into the batch's folder, and return the fields of its record. The input is linked: the file may
    be deleted from now on."""
    record: dict[str, Argument] = {
        "tenant": TENANT,
        "queue": BULK,
        "endpoint": asked.endpoint,
        "input_file": asked.input_file,
        "window": asked.window,
        "model": asked.template.model,
        "structured": int(asked.template.schema is not None),
        "upload": f"{batch_id}/{UPLOAD}",
        "on_bad_row": asked.on_bad_row,
        "weight": asked.template.weight,
        **budget_fields(asked.template),
    }
    if asked.metadata is not None:
        record["metadata"] = msgspec.json.encode(asked.metadata)
    if asked.output_expires_s is not None:
        record["output_expires_s"] = asked.output_expires_s
    store.link(file.content, f"{batch_id}/{UPLOAD}")
    if aliases := model_aliases():
        record["aliases"] = f"{batch_id}/aliases.json"
        store.commit(f"{batch_id}/aliases.json", [msgspec.json.encode(aliases)])
    return record


async def created_batch(gateway: Gateway, batch_id: str) -> BatchRecord:
    """Return the record of a batch that was created over HTTP. Raises `Unknown`, also for what is no id of one."""
    name = batch_id.removeprefix("batch_")
    if name == batch_id or len(batch_id) > MAX_ID_CHARS or not (name.isascii() and name.isalnum()):
        raise Unknown(batch_id[:MAX_ID_CHARS], "no id of a batch: those begin with `batch_`")
    async with gateway.client.talking():
        record = await known_batch(gateway.client.ledger, batch_id)
    with readable(batch_id):
        if not record.endpoint:
            raise Unknown(batch_id, "no such batch: it was not created over HTTP")
    return record


async def shown(gateway: Gateway, batch_id: str) -> dict[str, Any]:
    return await object_of(gateway, await created_batch(gateway, batch_id))


async def object_of(gateway: Gateway, record: BatchRecord) -> dict[str, Any]:
    """Return the Batch object of a record. Raises `Damaged`."""
    with readable(record.id):
        rejection = None
        if record.state == BatchState.FAILED and record.rejection:
            store = await gateway.store()
            rejection = await in_writer(lambda: read_rejection(store, record.rejection))
        return batch_object(record, rejection)


def read_rejection(store: FileStore, name: str) -> list[LineError] | None:
    """Return what is wrong with an input; None when the file that says it is gone."""
    try:
        return msgspec.json.decode(store.read(name), type=list[LineError])
    except (StorageError, *UNREADABLE):
        return None


@get("/v1/batches/{batch_id:str}", operation=Operation(answer=BatchObject))
async def show(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Return the batch: its status, its counts, its files."""
    gateway.allow(request, EVERY_JOB, READ)
    return as_json(await shown(gateway, batch_id))


@get("/v1/batches", operation=Operation(query=BatchQuery, answer=BatchPage))
async def list_batches(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """List batches, the newest first: `limit` (20, at most 100), and `after`, the id of the last one of a page."""
    gateway.allow(request, EVERY_JOB, READ)
    limit = limit_of(request.query_params, DEFAULT_LISTED, MAX_LISTED)
    after = request.query_params.get("after")
    found: list[dict[str, Any]] = []
    with after_is_named():
        if after is not None and (not after.startswith("batch_") or len(after) > MAX_ID_CHARS):
            raise Unknown(after[:MAX_ID_CHARS], "no id of a batch: those begin with `batch_`")
        listed = created_batches(gateway.client.ledger, TENANT, after=after)
        async with gateway.client.talking(), contextlib.aclosing(listed):
            async for record in listed:
                found.append(await object_of(gateway, record))
                if len(found) > limit:
                    break
    return as_json(page_of(found, limit))


@post("/v1/batches/{batch_id:str}/cancel", status_code=200, operation=Operation(answer=BatchObject))
async def cancel(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Cancel it; what has ended by then is in its files. Idempotent before its end, then a 409."""
    gateway.allow(request, EVERY_JOB, CANCEL)
    record = await created_batch(gateway, batch_id)
    async with gateway.client.talking():
        state = await cancel_batch(gateway.client.ledger, batch_id)
    if state == BatchState.CANCELLED and not record.total:  # it was never checked to its end
        store = await gateway.store()
        await in_writer(lambda: store.remove(record.upload))
    return as_json(await shown(gateway, batch_id))


@post(
    "/v1/batches/{batch_id:str}/retry",
    status_code=200,
    operation=Operation(body=BatchRetry, body_required=False, answer=BatchObject),
)
async def retry(request: Request[Any, Any, Any], batch_id: str, gateway: Gateway) -> Response[bytes]:
    """Create a batch that keeps what succeeded in one that has ended, and runs the rest again; with `{"codes": […]}` only what
    failed with one of them."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    body = await sized(len(raw), read_object, raw) if raw else {}
    codes = body.get("codes")
    if set(body) - {"codes"} or not (codes is None or (isinstance(codes, list) and all(map(is_text, codes)))):
        raise InputError("codes: the body has a list of codes, or nothing")
    await created_batch(gateway, batch_id)
    digest, own_id = sha256(batch_id.encode() + raw).hexdigest(), new_id("batch")
    async with gateway.client.talking(), creation_of(gateway, request, digest, own_id) as creating:
        store = await gateway.client.store()
        new = await creating.make(
            lambda creation: open_retry(
                gateway.client.ledger, store, batch_id, tenant=TENANT, codes=codes, creation=creation, own_id=own_id
            )
        )
    return as_json(await shown(gateway, new))


def is_text(value: object) -> bool:
    return isinstance(value, str)
