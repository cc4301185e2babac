"""`/v1/files`: upload, show, list and delete files, and fetch their content; OpenAI's, for the input and output of batches."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from typing import Any, BinaryIO

from litestar import Request, Response, delete, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.client.ledger_backend import TENANT
from headrace.errors import Spill, StorageError, Unknown
from headrace.jobs.job import new_id
from headrace.ledger.create_file import create_file
from headrace.ledger.delete_file import delete_file
from headrace.ledger.file_record import FileRecord, content_of, file_record, files
from headrace.text.quoting import quoted
from headrace_api.auth import CANCEL, EVERY_JOB, READ, SUBMIT
from headrace_api.errors import ApiError
from headrace_api.requests.creations import creation_of
from headrace_api.requests.expiry import checked_policy
from headrace_api.requests.file_upload import MIB, FormUpload, in_writer
from headrace_api.requests.pages import MAX_ID_CHARS, after_is_named, limit_of, page_of, word_of
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.files import Binary, FileDeleted, FileForm, FileObject, FilePage, FileQuery
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway

BATCH, BATCH_OUTPUT, USER_DATA = "batch", "batch_output", "user_data"
PURPOSES = (BATCH, USER_DATA)
"""Purposes of files that are uploaded."""
MAX_LISTED = 10_000
BATCH_EXPIRES_S = 30 * 24 * 3600
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
READ_BYTES = 1 << 18
MAX_DIGITS = 18
"""Digits of a number in a `Range`: more are beyond the end of any file."""


@post(
    "/v1/files",
    status_code=200,
    operation=Operation(body=FileForm, body_media="multipart/form-data", answer=FileObject),
)
async def upload(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Store the file of a form with the fields `purpose` and, if it is to expire, `expires_after`."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    store = await gateway.store()
    file_id = new_id("file").replace("_", "-")
    form = FormUpload(
        store,
        content_of(file_id),
        max_bytes=gateway.settings.file_mb * MIB,
        min_free_mb=gateway.settings.min_free_mb,
    )
    with gateway.upload_slot():
        try:
            upload = await form.read(request, check_early)
            purpose, expires_s = checked_fields(form.fields)
            if not upload.size:
                raise ApiError(400, "invalid_request", "the file is empty", param="file")
            digest = sha256(repr((upload.digest, sorted(form.fields.items()), form.filename)).encode()).hexdigest()
            await in_writer(upload.commit)
        except BaseException:
            await asyncio.shield(form.abort())
            raise
        # From here on it is whole: until it is entered nobody sees it, and what is never entered is swept.
        async with gateway.client.talking(), creation_of(gateway, request, digest, file_id) as creating:
            try:
                known = await creating.make(
                    lambda creation: create_file(
                        gateway.client.ledger,
                        file_id,
                        tenant=TENANT,
                        purpose=purpose,
                        filename=form.filename,
                        size=upload.size,
                        max_bytes=gateway.settings.files_total_mb * MIB,
                        creation=creation,
                        expires_s=expires_s,
                    )
                )
            except Spill:
                await in_writer(lambda: store.remove(content_of(file_id)))
                raise ApiError(
                    507,
                    "storage",
                    f"the files here would have more than {gateway.settings.files_total_mb} MiB (HEADRACE_FILES_TOTAL_MB of the "
                    "gateway): delete some first",
                    headers={"x-should-retry": "false"},
                ) from None
            if known != file_id:  # an equal request was here before
                await in_writer(lambda: store.remove(content_of(file_id)))
            return as_json(file_object(await file_record(gateway.client.ledger, known, tenant=TENANT)))


def check_early(fields: dict[str, str]) -> None:
    """Refuse a purpose before its file has come."""
    if "purpose" in fields:
        checked_purpose(fields["purpose"])


def checked_purpose(purpose: str | None) -> str:
    if purpose is None:
        raise ApiError(400, "invalid_request", "`purpose` is missing: batch or user_data", param="purpose")
    if purpose not in PURPOSES:
        why = "is made by batches alone" if purpose == BATCH_OUTPUT else "is for nothing here"
        raise ApiError(
            400,
            "invalid_request",
            f"purpose={quoted(purpose, 40)}: {why}; files are uploaded as batch or user_data",
            param="purpose",
        )
    return purpose


def checked_fields(fields: dict[str, str]) -> tuple[str, int | None]:
    """Return the purpose, and the seconds until the file expires. Raises `ApiError` naming the field."""
    for name in fields:
        if name not in ("purpose", ANCHOR, SECONDS):
            raise ApiError(400, "invalid_request", f"Unknown parameter: '{name[:80]}'.", param=name[:80])
    purpose = checked_purpose(fields.get("purpose"))
    if ANCHOR not in fields and SECONDS not in fields:
        return purpose, BATCH_EXPIRES_S if purpose == BATCH else None
    text = fields.get(SECONDS, "")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    return purpose, checked_policy({"anchor": fields.get(ANCHOR), "seconds": seconds}, "expires_after")


def file_object(record: FileRecord) -> dict[str, Any]:
    """Return the file as OpenAI's clients know it."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_ms // 1000,
        "expires_at": None if record.expires_ms is None else record.expires_ms // 1000,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": None,
    }


async def known_file(gateway: Gateway, file_id: str) -> FileRecord:
    """Return the record of a file. Raises `Unknown`, also for what is no id of one."""
    check_file_id(file_id)
    async with gateway.client.talking():
        return await file_record(gateway.client.ledger, file_id, tenant=TENANT)


def check_file_id(file_id: str) -> None:
    name = file_id.removeprefix("file-")
    if name == file_id or len(file_id) > MAX_ID_CHARS or not (name.isascii() and name.isalnum()):
        raise Unknown(file_id[:MAX_ID_CHARS], "no id of a file: those begin with `file-`")


@get("/v1/files", operation=Operation(query=FileQuery, answer=FilePage))
async def list_files(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """List files, the newest first: `purpose`, `order`, `limit` (10,000), and `after`, the id of the last one of a page."""
    gateway.allow(request, EVERY_JOB, READ)
    query = request.query_params
    limit = limit_of(query, MAX_LISTED, MAX_LISTED)
    order = word_of(query, "order", ("asc", "desc"))
    purpose = word_of(query, "purpose", (BATCH, BATCH_OUTPUT, USER_DATA))
    after = query.get("after")
    found: list[dict[str, Any]] = []
    with after_is_named():
        if after is not None:
            check_file_id(after)
        listed = files(gateway.client.ledger, TENANT, after=after, newest_first=order != "asc", purpose=purpose)
        async with gateway.client.talking(), contextlib.aclosing(listed):
            async for record in listed:
                found.append(file_object(record))
                if len(found) > limit:
                    break
    return as_json(page_of(found, limit))


@get("/v1/files/{file_id:str}", operation=Operation(answer=FileObject))
async def show(request: Request[Any, Any, Any], file_id: str, gateway: Gateway) -> Response[bytes]:
    """Return the file's size, name, purpose and times."""
    gateway.allow(request, EVERY_JOB, READ)
    return as_json(file_object(await known_file(gateway, file_id)))


@delete("/v1/files/{file_id:str}", status_code=200, operation=Operation(answer=FileDeleted))
async def remove(request: Request[Any, Any, Any], file_id: str, gateway: Gateway) -> Response[bytes]:
    """Delete it. A batch over it goes on: it has a link of its own."""
    gateway.allow(request, EVERY_JOB, CANCEL)
    record = await known_file(gateway, file_id)
    async with gateway.client.talking():
        await delete_file(gateway.client.ledger, record.id)
    store = await gateway.store()
    await in_writer(lambda: store.remove(record.content))
    return as_json({"id": record.id, "object": "file", "deleted": True})


@get(
    "/v1/files/{file_id:str}/content",
    media_type="application/octet-stream",
    operation=Operation(answer=Binary, media="application/octet-stream"),
)
async def content(request: Request[Any, Any, Any], file_id: str, gateway: Gateway) -> ASGIApp:
    """Send its content, or the one range of it that `Range` names."""
    gateway.allow(request, EVERY_JOB, READ)
    record = await known_file(gateway, file_id)
    store = await gateway.store()
    try:
        file = await in_writer(lambda: store.open(record.content))
    except StorageError:  # deleted, or swept, just now
        raise Unknown(file_id, "its content is gone") from None
    size = record.bytes
    tag = f'"{record.id}"'
    given = request.headers.get("range")
    if request.headers.get("if-range", tag) != tag:
        given = None
    try:
        return FileContent(file, tag, size, range_of(given, size))
    except ApiError:
        file.close()
        raise


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last that a `Range` header asks for; None for the whole file: without a
    header, for several ranges, and for what is no range of bytes. Raises `ApiError` when none of them is there."""
    unit, _, spec = (header or "").partition("=")
    first, dash, last = (part.strip() for part in spec.partition("-"))
    numbers = [part for part in (first, last) if part]
    if unit.strip().lower() != "bytes" or not dash or not numbers:
        return None
    if not all(part.isascii() and part.isdigit() for part in numbers):
        return None
    low, high = (int(part) if len(part) <= MAX_DIGITS else 10**MAX_DIGITS for part in (first or "0", last or "0"))
    start, end = (low, high + 1 if last else size) if first else (max(0, size - high), size)
    if first and last and high < low:
        return None
    if start >= size:
        raise ApiError(416, "range", f"the file has {size} bytes", headers={"content-range": f"bytes */{size}"})
    return start, min(end, size)


class FileContent:
    """An ASGI application: the content of a file, or one range of it, read and sent piece by piece."""

    def __init__(self, file: BinaryIO, tag: str, size: int, part: tuple[int, int] | None):
        self._file = file
        self._tag = tag
        self._size = size
        self._part = part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, end = self._part or (0, self._size)
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(end - start),
            "content-disposition": "attachment",
            "accept-ranges": "bytes",
            "etag": self._tag,
        }
        if self._part is not None:
            headers["content-range"] = f"bytes {start}-{end - 1}/{self._size}"
        file = self._file
        try:
            file.seek(start)
            named: Any = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200 if self._part is None else 206, "headers": named})
            left = end - start
            while left:
                piece = await in_writer(lambda: file.read(min(READ_BYTES, left)))  # noqa: B023 (it is awaited)
                if not piece:
                    raise EOFError("the file has lost its end")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        finally:
            file.close()
