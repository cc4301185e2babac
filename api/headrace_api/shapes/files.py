"""`/v1/files`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace_api.shapes.lists import AfterId, ListPage, Order

Binary = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
Purpose = Literal["batch", "batch_output", "user_data"]


class FileForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form (`multipart/form-data`) with a file."""

    file: Binary
    purpose: Literal["batch", "user_data"]
    expires_after_anchor: Literal["created_at"] | None = msgspec.field(default=None, name="expires_after[anchor]")
    expires_after_seconds: Annotated[int, Meta(ge=3600, le=2_592_000)] | None = msgspec.field(
        default=None, name="expires_after[seconds]"
    )


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file. Times are seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: None


class FilePage(ListPage, frozen=True, kw_only=True):
    """A page of files."""

    data: list[FileObject]


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of a deletion."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class FileQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The page of files to list."""

    purpose: Purpose | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    order: Order = "desc"
    after: AfterId | None = None
