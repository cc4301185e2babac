"""An upload as `multipart/form-data`, read as it comes: the file goes into the store piece by piece, never whole into memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from headrace.storage.file_store import FileStore
from headrace.storage.upload import Upload
from headrace_api.errors import ApiError

PIECE_BYTES = 1 << 18
"""Bytes of a file that are collected before they are written."""
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 16
MAX_NAME_CHARS = 512
MIB = 1 << 20
writers = ThreadPoolExecutor(2, thread_name_prefix="headrace-upload")
T = TypeVar("T")


async def in_writer(work: Callable[[], T]) -> T:
    """Return the result of blocking `work` on the disk."""
    return await asyncio.get_running_loop().run_in_executor(writers, work)


class FormUpload:
    """One form with one file. `fields` are its other parts, by their names; `upload` has the content once `read` has returned."""

    def __init__(self, store: FileStore, name: str, *, max_bytes: int, min_free_mb: int):
        self._store = store
        self._name = name
        self._max_bytes = max_bytes
        self._min_free_mb = min_free_mb
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.upload: Upload | None = None
        self._part = ""
        self._field: bytearray | None = None
        self._pieces: list[bytes | bytearray] = []
        self._held = 0

    async def read(self, request: Request[Any, Any, Any], check: Callable[[dict[str, str]], Any]) -> Upload:
        """Read the request's body to its end and return the upload, which is to be committed or aborted. `check` is given the
        fields that have come before the file: what it raises ends the upload early. Raises `ApiError`."""
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get("boundary")
        if kind != "multipart/form-data" or not boundary:
            raise ApiError(400, "invalid_request", "the body must be multipart/form-data, with a boundary")
        if (request.content_length or 0) > self._max_bytes + MAX_FIELDS * 2 * MAX_FIELD_BYTES:
            raise self._too_large()
        try:
            with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS, strict=True) as parser:
                async for chunk in body_of_request(request):
                    for event in parser.parse(chunk):
                        await self._take(event, check)
        except MultipartError as error:
            raise ApiError(400, "invalid_request", f"the body is no multipart/form-data: {error}") from None
        if self.upload is None:
            raise ApiError(
                400, "invalid_request", "`file` is missing: the part of the form with the content", param="file"
            )
        return self.upload

    async def abort(self) -> None:
        """Remove what has come."""
        if self.upload is not None:
            await in_writer(self.upload.abort)

    async def _take(
        self, event: MultipartSegment | bytes | bytearray | None, check: Callable[[dict[str, str]], Any]
    ) -> None:
        if isinstance(event, MultipartSegment):
            await self._begin(event, check)
        elif event is None:
            await self._end()
        elif self._field is not None:
            self._field += event
            if len(self._field) > MAX_FIELD_BYTES:
                raise ApiError(
                    400, "invalid_request", f"{self._part}: must have {MAX_FIELD_BYTES} bytes or less", param=self._part
                )
        else:
            self._pieces.append(event)
            self._held += len(event)
            if self._held >= PIECE_BYTES:
                await self._write()

    async def _begin(self, segment: MultipartSegment, check: Callable[[dict[str, str]], Any]) -> None:
        self._part = (segment.name or "")[:MAX_NAME_CHARS]
        if self._part != "file":
            self._field = bytearray()
            return
        if self.upload is not None:
            raise ApiError(400, "invalid_request", "`file` came twice: one file in each request", param="file")
        check(self.fields)
        if segment.filename is None:
            raise ApiError(400, "invalid_request", "`file` must be a file: a part with a filename", param="file")
        self._field = None
        self.filename = one_line(segment.filename)[:MAX_NAME_CHARS] or "upload"
        self.upload = await in_writer(lambda: Upload(self._store, self._name))

    async def _end(self) -> None:
        if self._field is None:
            await self._write()
            return
        if self._part in self.fields:
            raise ApiError(400, "invalid_request", f"`{self._part:.80}` came twice", param=self._part)
        try:
            self.fields[self._part] = self._field.decode()
        except UnicodeDecodeError:
            raise ApiError(400, "invalid_request", f"`{self._part:.80}` is no UTF-8", param=self._part) from None

    async def _write(self) -> None:
        upload, pieces = self.upload, self._pieces
        assert upload is not None
        self._pieces, held, self._held = [], self._held, 0
        if upload.size + held > self._max_bytes:
            raise self._too_large()
        if upload.size // (64 * MIB) != (upload.size + held) // (64 * MIB) or not upload.size:
            free_mb = await in_writer(self._store.free_mb)
            if free_mb < self._min_free_mb:
                raise ApiError(
                    507, "storage", f"{free_mb} MiB are free where files are kept, {self._min_free_mb} are left alone"
                )
        await in_writer(lambda: upload.write(pieces))

    def _too_large(self) -> ApiError:
        message = f"the file is larger than {self._max_bytes // MIB} MiB (HEADRACE_FILE_MB of the gateway)"
        return ApiError(413, "file_too_large", message, param="file", headers={"x-should-retry": "false"})


async def body_of_request(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes; the bound of other bodies does not hold for it. Raises `ApiError` when the client
    leaves."""
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise ApiError(499, "client_left", "the client has left in the middle of its file")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


def one_line(text: str) -> str:
    """Return `text` without control characters and lone surrogates."""
    shown = "".join(char for char in text if char.isprintable())
    return shown.encode(errors="replace").decode()
