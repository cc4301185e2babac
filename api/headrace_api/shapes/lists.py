"""Lists as OpenAI's clients page through them, and the query for a page."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

AfterId = Annotated[str, Meta(description="The id of the last one of the page before.")]
AfterLine = Annotated[int, Meta(ge=0, description="The number of lines that have been read.")]
Order = Annotated[Literal["asc", "desc"], Meta(description="The newest first is `desc`.")]


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page. There are more when `has_more`: ask again with `after` = `last_id`."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class LineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The start in lines that are followed."""

    after: AfterLine = 0
