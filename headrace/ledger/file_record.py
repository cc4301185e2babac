"""The records of files: what an upload or a batch's output is called, how large it is, and when it expires."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec

from headrace.errors import Damaged, Unknown
from headrace.ledger.damage import readable
from headrace.ledger.script import Ledger

FIELDS = ("purpose", "filename", "bytes", "created", "expires", "tenant")
PAGE = 500
FOLDER = "files"
"""The folder of the contents in the file store."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file as its callers see it. Times are in milliseconds since 1970."""

    id: str
    purpose: str
    filename: str
    bytes: int
    created_ms: int
    expires_ms: int | None = None

    @property
    def content(self) -> str:
        """The name of its content in the file store."""
        return content_of(self.id)

    @property
    def is_expired(self) -> bool:
        return self.expires_ms is not None and self.expires_ms <= time.time() * 1000


def content_of(file_id: str) -> str:
    """Return the name of a file's content in the file store."""
    return f"{FOLDER}/{file_id}"


async def file_record(ledger: Ledger, file_id: str, *, tenant: str) -> FileRecord:
    """Return a file of the tenant. Raises `Unknown` for one that is not there or has expired, `Damaged` for a corrupt record."""
    with readable(file_id):
        found = _record(file_id, await ledger.client.hmget(ledger.keys.file(file_id), FIELDS), tenant)
    if found is None:
        raise Unknown(file_id, "no such file: it was deleted, has expired, or never was")
    return found


async def files(
    ledger: Ledger, tenant: str, *, after: str | None = None, newest_first: bool = True, purpose: str | None = None
) -> AsyncGenerator[FileRecord]:
    """Yield the files of a tenant by the time of their creation, from the one behind `after` on, those of `purpose` alone if
    it is given. Raises `Unknown` for an `after` that is no file of theirs."""
    key, at = ledger.keys.files(tenant), 0
    if after is not None:
        rank = await (ledger.client.zrevrank if newest_first else ledger.client.zrank)(key, after)
        if rank is None:
            raise Unknown(after, "no such file, so the list cannot go on behind it")
        at = rank + 1
    page = ledger.client.zrevrange if newest_first else ledger.client.zrange
    while names := await page(key, at, at + PAGE - 1):
        at += len(names)
        ids = [raw.decode(errors="replace") for raw in names]
        async with ledger.client.pipeline(transaction=False) as pipeline:
            for file_id in ids:
                pipeline.hmget(ledger.keys.file(file_id), FIELDS)
            replies = await pipeline.execute(raise_on_error=False)
        for file_id, values in zip(ids, replies, strict=True):
            record = _record_or_none(file_id, values, tenant)
            if record is not None and purpose in (None, record.purpose):
                yield record


async def expired_files(ledger: Ledger, count: int) -> Sequence[str]:
    """Return at most `count` files that are past their lifetime, those first that have been so for longest."""
    found = await ledger.client.zrangebyscore(ledger.keys.expiring, "-inf", int(time.time() * 1000), 0, count)
    return [raw.decode(errors="replace") for raw in found]


async def unknown_files(ledger: Ledger, file_ids: Sequence[str]) -> list[str]:
    """Return those of `file_ids` that have no record."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for file_id in file_ids:
            pipeline.exists(ledger.keys.file(file_id))
        there = await pipeline.execute()
    return [file_id for file_id, known in zip(file_ids, there, strict=True) if not known]


def _record_or_none(file_id: str, values: list[bytes | None] | Exception, tenant: str) -> FileRecord | None:
    """Return the file; None for a record that cannot be read, so that its neighbours are listed."""
    try:
        with readable(file_id):
            if isinstance(values, Exception):
                raise values
            return _record(file_id, values, tenant)
    except Damaged:
        return None


def _record(file_id: str, values: Sequence[bytes | None], tenant: str) -> FileRecord | None:
    found: Mapping[str, bytes | None] = dict(zip(FIELDS, values, strict=True))
    if found["tenant"] is None or found["tenant"].decode() != tenant:
        return None
    texts = {name: (value or b"").decode() for name, value in found.items()}
    record = FileRecord(
        id=file_id,
        purpose=texts["purpose"],
        filename=texts["filename"],
        bytes=int(texts["bytes"]),
        created_ms=int(texts["created"]),
        expires_ms=int(texts["expires"]) if texts["expires"] else None,
    )
    return None if record.is_expired else record
