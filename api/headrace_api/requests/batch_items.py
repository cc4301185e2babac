"""A batch as the SDK sends it to a gateway: one JSON object a line, the template first, then the items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from litestar import Request

from headrace.batches.build import make_template
from headrace.batches.create import WINDOW_S
from headrace.batches.media.reader import MAX_MEDIA_BYTES
from headrace.batches.media.references import Blob, hashes
from headrace.batches.revalidation import check_job
from headrace.batches.template import Item, Template
from headrace.chat.options import set_in
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.errors import InputError
from headrace.jobs.build import checked_seconds
from headrace.spend.money import usd_text
from headrace.storage.file_store import FileStore
from headrace.storage.upload import Upload
from headrace.text.quoting import shortened
from headrace.text.readable import UNREADABLE
from headrace_api.errors import ApiError
from headrace_api.requests.file_upload import MIB, PIECE_BYTES, body_of_request, in_writer

WORK = "^[0-9a-f]{0,64}$"
"""The digest of a batch's input, and of what is asked of it."""
MAX_LINE_BYTES = 16 * MIB
MAX_BLOB_LINE_BYTES = 32 * MIB


class BatchHead(msgspec.Struct, frozen=True):
    """The first line."""

    template: Template
    window_s: float = WINDOW_S
    work: Annotated[str, msgspec.Meta(pattern=WORK)] = ""
    joins: bool = False


async def received(request: Request[Any, Any, Any], store: FileStore, name: str, *, max_bytes: int) -> None:
    """Write the request's body into the file `name`. Raises `ApiError` when it is too large; then nothing is left."""
    upload = await in_writer(lambda: Upload(store, name))
    try:
        pieces, held = list[bytes](), 0
        async for piece in body_of_request(request):
            pieces.append(piece)
            held += len(piece)
            if upload.size + held > max_bytes:
                raise ApiError(413, "too_large", f"a batch may have {max_bytes // MIB} MiB (HEADRACE_FILE_MB)")
            if held >= PIECE_BYTES:
                whole, pieces, held = pieces, [], 0
                await in_writer(lambda whole=whole: upload.write(whole))
        await in_writer(lambda: upload.write(pieces))
        await in_writer(upload.commit)
    except BaseException:
        await in_writer(upload.abort)
        raise


def read_head(lines: Iterator[bytes]) -> BatchHead:
    """Return the first line; its template as checked as one that is made here. Raises `InputError`."""
    first = next(lines, b"")
    try:
        head = msgspec.json.decode(first, type=BatchHead)
    except UNREADABLE as error:
        raise InputError(f"line 1: is no template of a batch: {shortened(str(error))}") from None
    given = head.template
    options = set_in(given.options)
    check_reserved_fields(options.get("extra_body") or {}, "/template/options/extra_body/")
    made, _ = make_template(
        given.model,
        given.prompt,
        schema=given.schema,
        schema_name=given.schema_name,
        system=given.system,
        messages=given.conversation,
        tools=given.tools,
        tool_choice=given.tool_choice,
        mode=given.mode,
        reasks=given.reasks,
        lax=given.lax,
        cache=None if given.cache == "auto" else given.cache,
        variant=given.variant,
        weight=given.weight,
        budget=usd_text(given.budget) if given.budget else None,
        allow_unpriced=given.unpriced,
        economy="fallback" if given.standard_fallback else False,
        **options,
    )
    return BatchHead(
        msgspec.structs.replace(made, kept=given.kept),
        checked_seconds("window_s", head.window_s),
        head.work,
        head.joins,
    )


def read_batch_items(lines: Iterator[bytes], template: Template) -> Iterator[Item | Blob]:
    """Yield the items of the lines after the first, and the blobs: `["SHA-256", "base64"]`, each before the first item that
    refers to it. Raises `InputError` naming the line."""
    number, sent = 1, set[str]()
    for number, line in enumerate(lines, 2):
        try:
            if line.startswith(b"["):
                blob = read_blob(line)
                sent.add(blob.sha)
                yield blob
                continue
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"has more than {MAX_LINE_BYTES // MIB} MiB")
            item = msgspec.json.decode(line, type=Item)
            if item.media is not None and not hashes(item.media) <= sent:
                raise InputError("/media: refers to a file that was not sent before it")
            if item.refused is None:
                check_job(template.job(item))
            check_reserved_fields((item.options.extra_body if item.options else None) or {}, "/options/extra_body/")
        except KeyError as error:
            raise InputError(f"line {number}: the prompt's field {error} is missing") from None
        except (*UNREADABLE, InputError) as error:
            raise InputError(f"line {number}: {shortened(str(error))}") from None
        yield item
    if number == 1:
        raise InputError("there is no item: the lines after the first are the items")


def read_blob(line: bytes) -> Blob:
    if len(line) > MAX_BLOB_LINE_BYTES:
        raise InputError(f"has more than {MAX_BLOB_LINE_BYTES // MIB} MiB")
    blob = msgspec.json.decode(line, type=Blob)
    if len(blob.data) > MAX_MEDIA_BYTES or Blob.of(blob.data) != blob:
        raise InputError(f"is no file of {MAX_MEDIA_BYTES // MIB} MiB at most with its SHA-256 before it")
    return blob
